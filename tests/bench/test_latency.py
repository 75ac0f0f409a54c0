"""The benchmark on the demo bundle with a handful of frames; no time is asserted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bench import BenchResult, bench_bundle, latency, read_sampled_frames
from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.runtime.records import StageLatency
from tests import videos

FRAMES = 6
STEP = {"step", "preprocess", "motion", "encode", "aggregate", "heads"}


@pytest.fixture(scope="module")
def result() -> BenchResult:
    pytest.importorskip("onnxruntime")
    return bench_bundle(load_bundle(DEMO_BUNDLE), "onnx", str(DEMO_CLIP), FRAMES)


def test_every_stage_is_measured_after_the_warm_up(result: BenchResult) -> None:
    assert set(result.watch) == set(result.watch_all) == STEP
    assert set(result.locate) == STEP | {"localize"}
    for stages in (result.watch, result.watch_all, result.locate):
        assert stages["step"].count == FRAMES - latency.WARM_UP_STEPS
        assert all(0 <= stage.p50_ms <= stage.p95_ms <= stage.p99_ms for stage in stages.values())
    assert result.bare_encode.p50_ms > 0
    assert (result.frames, result.source, result.reference) == (FRAMES, str(DEMO_CLIP), None)


def test_throughput_follows_from_the_median(result: BenchResult) -> None:
    per_second = 1e3 / result.watch["step"].p50_ms
    assert result.sampled_frames_per_second == pytest.approx(per_second, abs=0.01)
    assert result.stride == 8  # a third of a second, as in training, of a camera of 25 fps
    assert result.cameras == pytest.approx(per_second * 8 / 25, abs=0.1)
    assert result.peak_rss_mib > 10
    assert result.machine["cores"]
    assert "stprompt-edge" in result.versions


def median(milliseconds: float) -> StageLatency:
    return StageLatency(count=1, p50_ms=milliseconds, p95_ms=999, p99_ms=999, mean_ms=999)


def test_ratios_are_medians_over_medians(result: BenchResult) -> None:
    made = dataclasses.replace(
        result, watch={"step": median(12)}, watch_all={"step": median(20)}, bare_encode=median(10), reference=None
    )
    assert made.ratios == {"whole watch step / bare encoder": 1.2}
    assert dataclasses.replace(made, reference=median(600)).ratios == {
        "whole watch step / bare encoder": 1.2,
        "literal step / watch step": 50,
        "literal step / watch, all windows step": 30,
    }


def test_the_figures_survive_json(result: BenchResult) -> None:
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["ratios"] == result.ratios
    stages = {name: StageLatency(**stage) for name, stage in plain.pop("watch").items()}
    assert stages == result.watch
    assert plain["bare_encode"] == dataclasses.asdict(result.bare_encode)


def test_against_the_literal_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "REFERENCE_STEPS", 1)  # fifty passes of the encoder each
    pytest.importorskip("torch")
    pytest.importorskip("open_clip")
    from stprompt_edge.model.literal import literal_reference

    bundle = load_bundle(DEMO_BUNDLE)
    clip = bundle.manifest.clip
    result = bench_bundle(
        bundle,
        "onnx",
        str(DEMO_CLIP),
        5,
        load_reference=lambda: literal_reference(clip.model, "none", clip.seed, bundle.geometry),
    )
    assert result.reference is not None
    assert result.reference.count == latency.REFERENCE_STEPS
    assert {"literal step / watch step", "literal step / watch, all windows step"} < set(result.ratios)


@pytest.mark.parametrize(
    ("count", "stride", "indices"),
    [(5, 3, [0, 3, 6, 9, 12]), (5, 100, [0, 4, 8, 12, 16]), (20, 8, list(range(20))), (50, 8, list(range(20)))],
)
def test_frames_are_taken_denser_where_the_video_is_short(
    tmp_path: Path, count: int, stride: int, indices: list[int]
) -> None:
    source = videos.write_video(tmp_path / "v.mp4", frames=20)
    assert [frame.index for frame in read_sampled_frames(str(source), stride, count)] == indices


@pytest.mark.parametrize("frames", [1, 4])
def test_a_video_too_short_to_measure_on(tmp_path: Path, frames: int) -> None:
    source = videos.write_video(tmp_path / "v.mp4", frames=frames)
    with pytest.raises(SourceError, match=f"has only {frames} frames to measure on"):
        read_sampled_frames(str(source), 8, 40)


def test_an_unknown_backend_and_a_missing_video() -> None:
    bundle = load_bundle(DEMO_BUNDLE)
    with pytest.raises(UsageError, match="unknown backend 'gpu'"):
        bench_bundle(bundle, "gpu", str(DEMO_CLIP), 5)
    with pytest.raises(SourceError, match="no such file"):
        bench_bundle(bundle, "onnx", "nowhere.mp4", 5)


def test_a_machine_without_cpuinfo_is_described_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    assert set(latency.describe_machine()) == {"processor", "cores"}


def test_the_step_on_a_device_is_measured_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: BenchResult
) -> None:
    pytest.importorskip("onnx")
    from tests.fakes.device import engine_bundle, install, write_engine

    assert result.watch_device is None
    bundle = engine_bundle(tmp_path / "b")
    write_engine(bundle, install(monkeypatch), device_frames=True)
    measured = bench_bundle(bundle, "tensorrt", str(DEMO_CLIP), FRAMES)
    assert "CUDA graph" in measured.backend
    assert measured.watch_device is not None
    assert set(measured.watch_device) == {"step", "watch"}
    assert measured.sampled_frames_per_second == pytest.approx(1e3 / measured.watch_device["step"].p50_ms, abs=0.01)
