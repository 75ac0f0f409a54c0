"""The gate makes cpu8: it leaves products in float where nothing else helps, says so, and never moves backwards."""

from __future__ import annotations

import copy
import dataclasses
import io
from pathlib import Path

import onnx
import pytest
from rich.console import Console, RenderableType

from benchmarks.outliers import add_outliers
from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle, describe_bundle
from stprompt_edge.cli.export import bundle_report
from stprompt_edge.errors import CheckFailed
from stprompt_edge.export import ExportSettings, Model, export_bundle, exporting, gate
from stprompt_edge.export.activations import find_products
from stprompt_edge.model.clip import Clip
from stprompt_edge.vocabulary import load_vocabulary
from tests.export.outliers import outlier_graph


@pytest.fixture
def outlier_model(demo_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Outliers behind attention, which no constant can absorb. Traced once for all tests."""
    model = copy.deepcopy(demo_clip.model)
    add_outliers(model.visual, ("values",))
    graph = outlier_graph(demo_clip, ("values",))
    monkeypatch.setattr(exporting, "export_encoder", lambda encoder: graph)
    return Model.zero_shot(dataclasses.replace(demo_clip, model=model), load_vocabulary("ubnormal"), stride=4)


def export(model: Model, out: Path, *, force: bool = False) -> tuple[Bundle, list[float]]:
    done: list[float] = []
    settings = ExportSettings(precisions=("cpu8",), parity_video=DEMO_CLIP, force=force)
    return export_bundle(model, out, settings, lambda what, fraction: done.append(fraction)), done


def products(bundle: Bundle) -> tuple[int, int]:
    """Constant products in float, and in int8."""
    graph = onnx.load(bundle.file("encoder.cpu8.onnx")).graph
    known = {tensor.name for tensor in graph.initializer}
    floats = sum(node.op_type == "MatMul" and node.input[1] in known for node in graph.node)
    return floats, sum(node.op_type == "MatMulInteger" for node in graph.node)


def shown(report: RenderableType) -> str:
    text = io.StringIO()
    Console(width=200, file=text).print(report)
    return text.getvalue()


def test_products_stay_in_float_until_the_gate_holds(outlier_model: Model, demo_clip: Clip, tmp_path: Path) -> None:
    bundle, done = export(outlier_model, tmp_path / "b")
    figures = bundle.manifest.parity["cpu8"]
    assert figures.float_layers in (4, 12)
    assert figures.min_cosine >= 0.999
    assert not figures.accepted_by_force
    total = len(find_products(outlier_graph(demo_clip, ()).graph))
    assert products(bundle) == (figures.float_layers, total - figures.float_layers)
    assert done == sorted(done)
    assert done[-1] <= 1
    told = f"{figures.float_layers} matrix products left in float"
    assert told in describe_bundle(bundle)["cpu8 against fp32"]
    assert f"cpu8: {told}" in shown(bundle_report(bundle))


def test_without_outliers_all_products_are_int8(small_bundle: Bundle) -> None:
    assert small_bundle.manifest.parity["cpu8"].float_layers == 0
    assert products(small_bundle)[0] == 0
    assert "float" not in describe_bundle(small_bundle)["cpu8 against fp32"]
    assert "float" not in shown(bundle_report(small_bundle))


def test_if_no_try_helps_it_is_refused_or_kept_by_force(
    outlier_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "FLOAT_LAYERS", (0, 1))
    with pytest.raises(CheckFailed, match="cpu8 missed parity with fp32"):
        export(outlier_model, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    bundle, _ = export(outlier_model, tmp_path / "b", force=True)
    figures = bundle.manifest.parity["cpu8"]
    assert (figures.float_layers, figures.accepted_by_force) == (1, True)
