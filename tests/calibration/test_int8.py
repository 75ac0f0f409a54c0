"""From footage to encoder.int8.onnx in the bundle, or to a bundle as it was."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stprompt_edge.bundle import Bundle, ParityFigures, load_bundle
from stprompt_edge.calibration import Int8Calibration, Int8Settings, calibrate_int8, int8
from stprompt_edge.calibration.int8 import evenly, next_count
from stprompt_edge.calibration.layers import find_layers
from stprompt_edge.calibration.rules import broken_rules
from stprompt_edge.cli.calibrate import int8_report
from stprompt_edge.cli.export import bundle_report
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, SourceError, UsageError
from stprompt_edge.export.engine.build import check_graphs
from stprompt_edge.export.parity import compare, read_parity_frames, trace, within_limits
from tests.calibration.graphs import encoder, make_bundle
from tests.calibration.test_staging import snapshot
from tests.export.engine.graph_rules import refusals

ROOT = Path(__file__).resolve().parents[2]
USUAL: dict[str, Any] = {"frames": 12}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "b", encoder())


@pytest.fixture(autouse=True)
def usual(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The footage of `calibrate` where a test gives none."""
    monkeypatch.setitem(USUAL, "footage", (str(clip),))


def calibrate(bundle: Bundle, **settings: Any) -> tuple[Int8Calibration, tuple[Path, ...]]:
    chosen = {**USUAL, "out": bundle.path.parent / "out", **settings}
    return calibrate_int8(bundle.path, Int8Settings(**chosen))


def figures(cosine: float, difference: float = 0.0) -> ParityFigures:
    return ParityFigures(min_cosine=cosine, max_score_difference=difference, frames=1, source="v")


def test_a_bundle_gets_its_int8_and_the_report_says_how(bundle: Bundle) -> None:
    done, files = calibrate(bundle)
    amended = load_bundle(bundle.path)
    assert amended.precisions == ("fp32", "int8")
    assert amended.manifest.parity["int8"] == done.parity
    assert within_limits(done.parity)
    graph = onnx.load(amended.file("encoder.int8.onnx"))
    assert broken_rules(graph) == refusals(graph) == []
    assert len(find_layers(graph.graph)) == len(done.left_in_float) == done.parity.float_layers < 3
    check_graphs(amended, "int8")  # what `build-engine --precision int8` asks for
    assert [file.name for file in files] == ["int8.json", "layers.csv", "layers.png"]
    told = json.loads(files[0].read_text())
    assert len(told["calibration_frames"]) == 12
    assert {"video", "frame", "seconds", "brightness", "motion"} == set(told["calibration_frames"][0])
    assert told["parity"] == done.parity.model_dump()
    assert len(files[1].read_text().splitlines()) == 1 + len(told["layers"]) == 6
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert bundle_report(amended) is not None
    assert int8_report(done, bundle.path, files) is not None


def test_int8_keeps_parity_on_real_footage(bundle: Bundle, footage: list[Path]) -> None:
    done, _ = calibrate(bundle, footage=tuple(map(str, footage[:2])))
    assert within_limits(done.parity)
    frames = read_parity_frames(footage[1], 4)  # others than those that were calibrated with, or judged by
    amended = load_bundle(bundle.path)
    traces = [trace(amended, precision, frames, lambda: None) for precision in ("int8", "fp32")]
    assert compare(*traces, footage[1].name).min_cosine > 0.998


def test_the_costliest_layers_stay_in_float(tmp_path: Path) -> None:
    done, _ = calibrate(make_bundle(tmp_path / "b", encoder(outliers=300)), force=True)
    assert done.parity.float_layers > 0
    assert done.left_in_float[0].label == max(done.layers, key=lambda row: row.cost).label
    assert all(row.cost <= min(one.cost for one in done.left_in_float) for row in done.layers if row.int8)


def test_a_gate_that_is_missed_refuses_and_leaves_the_report(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "compare", lambda found, expected, source: figures(0.9, 0.5))
    before = snapshot(bundle.path)
    with pytest.raises(CheckFailed, match=r"(?s)int8 missed parity .*with 2 of 5 layers in float.*0\.90000.*--force"):
        calibrate(bundle)
    assert snapshot(bundle.path) == before
    assert (bundle.path.parent / "out" / "layers.csv").is_file()
    done, _ = calibrate(bundle, force=True)
    assert done.parity.accepted_by_force
    assert load_bundle(bundle.path).manifest.parity["int8"].accepted_by_force


def test_a_deliberately_broken_artefact_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of which each is a hundredth of the true one: everything saturates."""
    measure = int8.measure_ranges
    monkeypatch.setattr(int8, "measure_ranges", lambda *a: {name: x / 100 for name, x in measure(*a).items()})
    before = snapshot(bundle.path)
    with pytest.raises(CheckFailed, match=r"int8 missed parity with fp32 on 12 frames of clip\.mp4"):
        calibrate(bundle)
    assert snapshot(bundle.path) == before


def test_a_graph_that_breaks_a_rule_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "quantize_static_int8", lambda model, layers, ranges: model)
    before = snapshot(bundle.path)
    with pytest.raises(CheckFailed, match=r"breaks 2 of TensorRT's rules, first: opset ai\.onnx 18"):
        calibrate(bundle)
    assert snapshot(bundle.path) == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "full"), EnvironmentFailure)],
)
def test_what_ends_it_leaves_the_bundle_as_it_was(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: BaseException, expected: type[BaseException]
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(int8.onnx, "save", fail)
    before = snapshot(bundle.path)
    with pytest.raises(expected):
        calibrate(bundle)
    assert snapshot(bundle.path) == before
    assert sorted(path.name for path in bundle.path.parent.iterdir()) == ["b"]


def two_labels(clip: Path, folder: Path) -> Path:
    """A data set of the same video twice, once normal and once not."""
    shutil.copy(clip, folder / "same.mp4")
    listing = folder / "list.csv"
    listing.write_text(f"video,label,split\n{clip},fighting,test\nsame.mp4,normal,test\n")
    return listing


def test_the_auc_of_both_on_labelled_videos(bundle: Bundle, clip: Path, tmp_path: Path) -> None:
    listing = two_labels(clip, tmp_path)
    done, files = calibrate(bundle, dataset=listing)
    assert done.auc is not None
    assert done.auc.of == "videos"
    assert done.auc.fp32 == 0.5  # the same video twice
    assert abs(done.auc.int8 - done.auc.fp32) <= 0.5
    assert json.loads(files[0].read_text())["auc"]["difference"] == done.auc.int8 - done.auc.fp32


def test_a_data_set_that_gives_no_auc(bundle: Bundle, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        class figures:
            frames = videos = None

    listing = two_labels(clip, bundle.path.parent)
    monkeypatch.setattr(int8, "evaluate_bundle", lambda *a, **k: Nothing)
    with pytest.raises(UsageError, match="give no AUC"):
        calibrate(bundle, dataset=listing)


def test_frames_are_taken_from_all_over() -> None:
    feeds = [{"x": np.array(i)} for i in range(10)]
    assert [int(feed["x"]) for feed in evenly(feeds, 3)] == [0, 4, 9]
    assert evenly(feeds[:2], 3) == feeds[:2]


def test_fewer_frames_than_wanted_are_told(bundle: Bundle) -> None:
    done, _ = calibrate(bundle, frames=1000)
    assert done.notes[0].startswith("calibrated with ")
    assert "not 1000" in done.notes[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": "entrop"}, "unknown method 'entrop'"),
        ({"footage": ()}, "no footage given"),
        ({"frames": 7}, "--frames is 7, at least 8"),
        ({"dataset": Path("nowhere")}, "nowhere"),
    ],
)
def test_settings_that_do_not_fit(bundle: Bundle, settings: dict[str, Any], told: str) -> None:
    with pytest.raises((UsageError, SourceError), match=told):
        calibrate(bundle, **settings)


def test_a_bundle_without_fp32(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", encoder(), fp32=None, fp16=b"half")
    with pytest.raises(UsageError, match=r"holds no encoder\.onnx"):
        calibrate(bundle)


@pytest.mark.parametrize("package", ["onnx", "matplotlib.figure"])
def test_a_package_that_is_missing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentFailure, match=r"(?s)cannot be imported.*stprompt-edge\[train\]"):
        calibrate(bundle)


@pytest.mark.parametrize(
    ("count", "found", "expected"),
    [
        (0, figures(0.998), 2),  # twice over: after the first, 7 of 15 are left, and the margin is missed
        (0, figures(0.99), 3),
        (1, figures(0.9989), 2),
        (0, figures(1.0, 0.02), 2),
        (3, figures(-1.0), 4),
    ],
)
def test_how_many_layers_the_next_try_leaves_in_float(count: int, found: ParityFigures, expected: int) -> None:
    assert next_count([8.0, 4.0, 2.0, 1.0], count, found) == expected


def test_it_needs_no_torch(bundle: Bundle, clip: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom stprompt_edge.calibration import Int8Settings, calibrate_int8\n"
        f"settings = Int8Settings(footage=({str(clip)!r},), out=Path({str(bundle.path) + '-out'!r}), frames=8)\n"
        f"calibrate_int8(Path({str(bundle.path)!r}), settings)\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
