"""From model to bundle, whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, Bundle, ClipSection, load_bundle
from stprompt_edge.errors import CheckFailed, SourceError, UsageError
from stprompt_edge.export import ExportSettings, Model, export_bundle, export_from_names, exporting
from stprompt_edge.export.parity import read_parity_frames
from stprompt_edge.model.checkpoint import Checkpoint, save_checkpoint
from stprompt_edge.model.clip import Clip, embed_texts
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.watch import RunSettings, run
from stprompt_edge.vocabulary import load_vocabulary
from tests.bundles import write_fake_bundle

HALF = ExportSettings(precisions=("fp16",), parity_video=DEMO_CLIP)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture(autouse=True)
def few_parity_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared bundles pass the gate with all of them; here two are enough."""
    monkeypatch.setattr(exporting, "PARITY_FRAMES", 2)


@pytest.fixture
def zero_shot(demo_clip: Clip) -> Model:
    return Model.zero_shot(demo_clip, load_vocabulary("ubnormal"), stride=4)


@pytest.fixture
def broken_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 with one weight matrix of noise."""
    to_half = exporting.to_half

    def breaking(model: onnx.ModelProto) -> onnx.ModelProto:
        half = to_half(model)
        weight = max(half.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        noise = np.random.default_rng(0).standard_normal(tuple(weight.dims)).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(noise, weight.name))
        return half

    monkeypatch.setattr(exporting, "to_half", breaking)


def test_what_a_bundle_says_of_itself(small_bundle: Bundle, stprompt_model: Model) -> None:
    manifest = small_bundle.manifest
    assert small_bundle.precisions == ("fp32", "fp16", "cpu8")
    assert HEADS_NAME in manifest.files
    assert manifest.clip == ClipSection(
        model="stprompt-demo-16", pretrained="none", seed=0, embedding_width=128,
        weights_sha256=stprompt_model.clip.weights_sha256,
    )  # fmt: skip
    assert manifest.method == stprompt_model.method
    assert manifest.localization.tau == pytest.approx(0.07)  # CLIP's own, of this one
    assert manifest.training == {"note": "seeded"}
    assert small_bundle.vocabulary == stprompt_model.vocabulary
    assert stprompt_model.trained is not None
    with torch.inference_mode():
        np.testing.assert_allclose(small_bundle.text.label_prompts, stprompt_model.trained.prompts(), atol=1e-6)


def test_what_a_bundle_of_the_ranking_method_says_of_itself(ranking_bundle: Bundle, demo_clip: Clip) -> None:
    method = ranking_bundle.manifest.method
    assert (method.name, method.windows, method.motion_timing) == ("mil-ranking", 49, "causal")
    assert HEADS_NAME in ranking_bundle.manifest.files
    assert ranking_bundle.manifest.parity["cpu8"].max_score_difference < 0.01
    names_of_classes = load_vocabulary("ubnormal").class_names
    np.testing.assert_allclose(ranking_bundle.text.label_prompts, embed_texts(demo_clip, names_of_classes), atol=1e-5)


@pytest.mark.parametrize("localize", ["never", "alarm", "always"])
def test_a_bundle_of_the_ranking_method_runs(ranking_bundle: Bundle, localize: Any, tmp_path: Path) -> None:
    with open_backend("onnx", ranking_bundle).backend as backend:
        settings = RunSettings(out=tmp_path / "out", localize=localize, save_video=False, max_frames=40, threshold=0.0)
        run(CameraConfig(source=str(DEMO_CLIP)), ranking_bundle, backend, settings)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert len(rows) == 10
    for row in rows:
        classes = [float(row[name]) for name in ranking_bundle.vocabulary.class_names]
        assert sum(classes) == pytest.approx(1, abs=1e-5)
        assert float(row["score"]) == pytest.approx(1 - classes[0], abs=2e-6)
        assert row["top_class"] == ranking_bundle.vocabulary.class_names[1 + int(np.argmax(classes[1:]))]


@pytest.mark.parametrize("precisions", [("fp16",), ("cpu8", "fp32")])
def test_only_what_was_asked_for_is_written(zero_shot: Model, tmp_path: Path, precisions: tuple[str, ...]) -> None:
    told: list[float] = []
    settings = ExportSettings(precisions=precisions, parity_video=DEMO_CLIP)
    bundle = export_bundle(zero_shot, tmp_path / "b", settings, lambda what, done: told.append(done))
    assert set(bundle.precisions) == set(precisions)
    assert names(tmp_path / "b") == sorted([*(ENCODER_NAMES[p] for p in precisions), "bundle.json", "text.safetensors"])
    assert set(bundle.manifest.parity) == set(precisions) - {"fp32"}
    assert told == sorted(told)
    assert 0 <= told[0] < told[-1] <= 1


@pytest.mark.usefixtures("broken_half")
def test_a_broken_precision_is_refused_and_nothing_is_left(zero_shot: Model, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"fp16 missed parity with fp32 on 2 frames of clip\.mp4"):
        export_bundle(zero_shot, tmp_path / "b", HALF)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("broken_half")
def test_a_refused_export_keeps_the_old_bundle_and_force_replaces_it(zero_shot: Model, tmp_path: Path) -> None:
    before = write_fake_bundle(tmp_path / "b").manifest
    with pytest.raises(CheckFailed, match="missed parity"):
        export_bundle(zero_shot, tmp_path / "b", HALF)
    assert load_bundle(tmp_path / "b").manifest == before
    forced = ExportSettings(precisions=("fp16",), parity_video=DEMO_CLIP, force=True)
    bundle = export_bundle(zero_shot, tmp_path / "b", forced)
    assert bundle.manifest.parity["fp16"].accepted_by_force
    assert bundle.manifest.parity["fp16"].min_cosine < 0.999
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        ((), r"no precision given\n  fix: pass --precision fp32,fp16,cpu8"),
        (("",), "unknown precision ''"),
        (("fp32", "fp17"), r"unknown precision 'fp17'\n  fix: did you mean 'fp16'\?"),
        (("int8",), "unknown precision 'int8'"),
    ],
)
def test_settings_that_do_not_fit(precisions: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportSettings(precisions=precisions, parity_video=DEMO_CLIP)


def from_names(out: Path, **changes: Any) -> Bundle:
    arguments: dict[str, Any] = {
        "checkpoint": None,
        "out": out,
        "clip": "stprompt-demo-16",
        "pretrained": "none",
        "vocabulary": "ubnormal",
        "stride": 4,
        "seed": 0,
        "settings": HALF,
    }
    return export_from_names(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"clip": "stprompt-demo"}, UsageError, "unknown CLIP model"),
        ({"clip": "ViT-B-32"}, UsageError, r"cannot be packed: its patch size is \(32, 32\)"),
        ({"clip": "RN50"}, UsageError, "cannot be packed: it is not a plain ViT"),
        ({"pretrained": "missing.pt"}, UsageError, "no pretrained weights 'missing.pt'"),
        ({"vocabulary": "ubnormla"}, UsageError, "did you mean 'ubnormal'"),
        ({"checkpoint": Path("missing.safetensors")}, UsageError, "no checkpoint at missing"),
        (
            {"settings": ExportSettings(parity_video=Path("missing.mp4"))},
            (UsageError, SourceError),
            r"missing\.mp4",
        ),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        from_names(tmp_path / "b", **changes)
    assert names(tmp_path) == []


def test_without_a_checkpoint_it_is_clip_as_openai_trained_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int]] = []

    def refuse(name: str, pretrained: str, seed: int) -> Clip:
        asked.append((name, pretrained, seed))
        raise UsageError("seen", remedy="none")

    monkeypatch.setattr("stprompt_edge.export.exporting.load_clip", refuse)
    with pytest.raises(UsageError, match="seen"):
        from_names(tmp_path / "b", clip=None, pretrained=None, seed=None)
    assert asked == [("ViT-B-16-quickgelu", "openai", 0)]


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p / "inside").mkdir(parents=True)])
def test_what_is_not_a_bundle_is_refused_before_any_work(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "b")
    with pytest.raises(UsageError, match="exists and is not a bundle"):
        from_names(tmp_path / "b", clip="never looked at")


@pytest.mark.usefixtures("short_clips")
def test_a_checkpoint_becomes_a_bundle(tmp_path: Path, stprompt_model: Model, small_bundle: Bundle) -> None:
    assert stprompt_model.trained is not None
    checkpoint = Checkpoint(
        clip=small_bundle.manifest.clip,
        method=stprompt_model.method,
        vocabulary=stprompt_model.vocabulary,
        training={"note": "seeded"},
        weights=stprompt_model.trained.state_dict(),
    )
    save_checkpoint(tmp_path / "best.safetensors", checkpoint)
    its_own = {"clip": None, "pretrained": None, "seed": None, "vocabulary": "never looked at"}
    bundle = from_names(tmp_path / "b", checkpoint=tmp_path / "best.safetensors", **its_own)
    assert bundle.manifest.clip == small_bundle.manifest.clip
    assert bundle.manifest.method == small_bundle.manifest.method
    assert bundle.manifest.training == {"note": "seeded"}
    np.testing.assert_allclose(bundle.text.label_prompts, small_bundle.text.label_prompts, atol=1e-6)
    assert bundle.manifest.files[HEADS_NAME].bytes == small_bundle.manifest.files[HEADS_NAME].bytes


@pytest.mark.parametrize("precision", ["fp32", "cpu8"])
def test_the_graphs_run_without_windows(small_bundle: Bundle, precision: str) -> None:
    method = small_bundle.manifest.method.model_copy(update={"windows": 0, "motion_timing": "causal"})
    manifest = small_bundle.manifest.model_copy(update={"method": method})
    bundle, scores = dataclasses.replace(small_bundle, manifest=manifest), []
    with OnnxBackend(bundle, precision=precision) as backend:
        for localize in ("never", "always"):  # no window encoded, and all of them
            observer = Observer(bundle, backend, localize=localize)  # type: ignore[arg-type]
            found = [found for frame in read_parity_frames(DEMO_CLIP, 2) for found in observer.push(frame)]
            scores.append([item.detection.score for item in found])
    assert len(scores[0]) == 2
    assert scores[0] == pytest.approx(scores[1], abs=0.01)


@pytest.mark.usefixtures("short_clips")
def test_a_checkpoint_of_the_ranking_method_becomes_a_bundle(
    tmp_path: Path, ranking_model: Model, ranking_bundle: Bundle
) -> None:
    assert ranking_model.trained is not None
    checkpoint = Checkpoint(
        clip=ranking_bundle.manifest.clip,
        method=ranking_model.method,
        vocabulary=ranking_model.vocabulary,
        training={"note": "seeded"},
        weights=ranking_model.trained.state_dict(),
    )
    save_checkpoint(tmp_path / "best.safetensors", checkpoint)
    bundle = from_names(tmp_path / "b", checkpoint=tmp_path / "best.safetensors", vocabulary="never looked at")
    assert bundle.manifest.method == ranking_bundle.manifest.method
    assert bundle.manifest.files[HEADS_NAME].bytes == ranking_bundle.manifest.files[HEADS_NAME].bytes


def test_a_checkpoint_of_another_encoder(tmp_path: Path, ranking_model: Model, ranking_bundle: Bundle) -> None:
    assert ranking_model.trained is not None
    for model, method in ((ranking_model, "mil-ranking"), (ranking_model, "stprompt")):
        checkpoint = Checkpoint(
            clip=ranking_bundle.manifest.clip.model_copy(update={"seed": 41, "weights_sha256": "0" * 64}),
            method=model.method.model_copy(update={"name": method}),
            vocabulary=model.vocabulary,
            training={},
            weights=ranking_model.trained.state_dict(),
        )
        save_checkpoint(tmp_path / "best.safetensors", checkpoint)
        with pytest.raises(
            CheckFailed, match=r"was trained with .* --seed 41, got .* --seed 0\n  fix: pass .*--seed 41"
        ):
            from_names(tmp_path / "b", checkpoint=tmp_path / "best.safetensors")
        assert names(tmp_path) == ["best.safetensors"]


def test_what_was_written_is_read_for_its_digest_once(
    stprompt_model: Model, tmp_path: Path, digests: dict[str, int]
) -> None:
    bundle = export_bundle(stprompt_model, tmp_path / "b", ExportSettings(parity_video=DEMO_CLIP))
    assert digests == dict.fromkeys(bundle.manifest.files, 1)
    assert load_bundle(tmp_path / "b").manifest == bundle.manifest
    assert bundle.path == tmp_path / "b"
