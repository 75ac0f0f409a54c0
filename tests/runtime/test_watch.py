"""A run from source to output folder: whole, stopped, failing in each stage, and against kept numbers."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import load_bundle
from stprompt_edge.cli.run import SCORE_WIDTH, score_line
from stprompt_edge.errors import EnvironmentFailure, SourceError, UsageError
from stprompt_edge.runtime import watch as pipeline
from stprompt_edge.runtime.backends.base import Encoded
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.recording.scores import ScoresFile
from stprompt_edge.runtime.records import Losses
from stprompt_edge.runtime.watch import Progress, RunResult, RunSettings
from tests import videos
from tests.golden import demo_scores

from .tiny import ScriptedSource, random_frames, tiny_bundle

FOUR = {"scores.csv", "events.json", "report.html", "summary.json"}
FIVE = FOUR | {"annotated.mp4"}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """20 frames of 64 x 48."""
    return videos.write_video(tmp_path / "clip.mp4")


def run(source: Path | str, out: Path, *, threshold: float | None = None, **options: Any) -> RunResult:
    """With the tiny bundle and the fake backend."""
    bundle = options.pop("bundle", None) or tiny_bundle()
    camera = options.pop("camera", CameraConfig(source=str(source)))
    backend = options.pop("backend", None) or FakeBackend(bundle)
    calls = {key: options.pop(key) for key in ("stop", "on_progress") if key in options}
    settings = RunSettings(out=out, threshold=threshold, **options)
    return pipeline.run(camera, bundle, backend, settings, **calls)


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def assert_nothing_left(out: Path) -> None:
    assert not out.exists() or not any(out.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name == "decode"]


def script(monkeypatch: pytest.MonkeyPatch, frames: int, **options: Any) -> ScriptedSource:
    """Makes `run` read a scripted source."""
    source = ScriptedSource(random_frames(frames, size_wh=(64, 48)), **options)
    monkeypatch.setattr(pipeline, "open_source", lambda text, **options: source)
    return source


def test_the_packaged_clip_with_the_packaged_bundle(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bundle, seen = load_bundle(DEMO_BUNDLE), list[Progress]()
    with open_backend("onnx", bundle).backend as backend:
        settings = RunSettings(out=tmp_path / "out", max_frames=100)
        camera = CameraConfig(source=str(DEMO_CLIP))
        result = pipeline.run(camera, bundle, backend, settings, on_progress=seen.append)
    assert {path.name for path in result.files} == names(tmp_path / "out") == FIVE
    assert (result.summary.camera_frames, result.summary.sampled_frames) == (100, 25)
    assert [item.camera_frame for item in seen] == list(range(0, 100, 4))
    assert not result.summary.interrupted
    assert {"decode", "step", "preprocess", "motion", "encode", "aggregate", "heads"} <= set(result.summary.latencies)


def test_the_demo_scores_are_the_kept_ones() -> None:
    pytest.importorskip("onnxruntime")
    kept, found = json.loads(demo_scores.FILE.read_text(encoding="utf-8")), demo_scores.measure()
    for name in ("clip_sha256", "encoder_sha256"):
        assert found[name] == kept[name], f"{name} is another: if that is meant, run python -m tests.golden.demo_scores"
    for branch in ("a", "c"):
        np.testing.assert_allclose(found["scores"][branch], kept["scores"][branch], atol=demo_scores.TOLERANCE)
    np.testing.assert_allclose(found["class_probabilities"], kept["class_probabilities"], atol=demo_scores.TOLERANCE)


def test_a_whole_run_agrees_with_itself(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(clip, out, threshold=0.0, localize="always")
    assert names(out) == FIVE
    rows = list(csv.DictReader((out / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [int(row["frame"]) for row in rows] == [0, 4, 8, 12, 16]
    assert [float(row["seconds"]) for row in rows] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
    (event,) = result.events  # threshold 0: one event from the first to the last sampled frame
    assert (event.start_frame, event.end_frame, event.frames) == (0, 16, ())
    assert event.peak_score == pytest.approx(max(float(row["score"]) for row in rows), abs=1e-6)
    kept = json.loads((out / "events.json").read_text(encoding="utf-8"))["events"]
    assert len(kept[0]["frames"]) == 5
    written = summary(out)
    assert (written["camera_frames"], written["sampled_frames"], written["events"]) == (20, 5, 1)
    assert sorted(written["files"]) == sorted(FIVE)
    assert written["latencies"]["step"]["count"] == 5


def write_jumping(path: Path, jump_s: float) -> Path:
    """Two seconds at 10 frames/s, then two more whose time stamps are later by `jump_s`."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    parts = []
    for number, start in enumerate((0.0, 2.0 + jump_s)):
        parts.append(path.with_name(f"{number}.ts"))
        make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=2"]
        subprocess.run([*make, "-output_ts_offset", str(start), str(parts[-1])], check=True)
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("jump_s", [5.0, 3600.0, 24_000.0])
def test_a_jump_of_the_source_costs_no_file(tmp_path: Path, jump_s: float) -> None:
    done = run(write_jumping(tmp_path / "jump.ts", jump_s), tmp_path / "out", stride=2)
    assert names(tmp_path / "out") == FIVE
    ask = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "format=duration:stream=nb_read_frames"]
    told = subprocess.run(
        [*ask, "-of", "json", str(tmp_path / "out" / "annotated.mp4")], capture_output=True, check=True
    )
    found = json.loads(told.stdout)
    assert told.stderr == b""
    assert done.summary.camera_frames == 40
    damaged = done.summary.corrupt_frames + done.summary.concealed_frames
    assert damaged <= 2  # FFmpeg finds the last packet before the joint incomplete
    assert int(found["streams"][0]["nb_read_frames"]) == 40 - damaged
    assert float(found["format"]["duration"]) == pytest.approx(4 + min(jump_s, 10), abs=0.35)
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert seconds[-1] == pytest.approx(jump_s + 3.8, abs=0.2)  # the source's own time


@pytest.mark.parametrize(
    ("live", "save_video", "files"),
    [(False, None, FIVE), (False, False, FOUR), (False, True, FIVE), (True, None, FOUR), (True, True, FIVE)],
)
def test_video_is_saved_of_files_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, live: bool, save_video: bool | None, files: set[str]
) -> None:
    source = script(monkeypatch, 8, live=live)
    run("script", tmp_path / "out", save_video=save_video)
    assert names(tmp_path / "out") == files
    assert source.closed


@pytest.mark.parametrize("max_frames", [1, 4, 5, 20, 1000])
def test_max_frames(clip: Path, tmp_path: Path, max_frames: int) -> None:
    result = run(clip, tmp_path / "out", max_frames=max_frames)
    assert result.summary.camera_frames == min(max_frames, 20)
    assert result.summary.sampled_frames == (min(max_frames, 20) + 3) // 4


@pytest.mark.parametrize("max_frames", [0, -1])
def test_max_frames_under_one_is_refused(tmp_path: Path, max_frames: int) -> None:
    with pytest.raises(UsageError, match=f"--max-frames must be at least 1, got {max_frames}"):
        RunSettings(out=tmp_path, max_frames=max_frames)


@pytest.mark.parametrize(
    ("user", "camera", "found"),
    [
        ((None, None), (None, None), (4, 0.5)),
        ((None, None), (5, 0.25), (5, 0.25)),
        ((2, 0.125), (5, 0.25), (2, 0.125)),
        ((None, 0.0), (5, 0.25), (5, 0.0)),  # 0 is a threshold, not "none given"
    ],
)
def test_the_users_settings_come_before_the_cameras_and_the_bundles(
    clip: Path, tmp_path: Path, user: tuple[Any, Any], camera: tuple[Any, Any], found: tuple[int, float]
) -> None:
    config = CameraConfig(source=str(clip), stride=camera[0], threshold=camera[1])
    result = run(clip, tmp_path / "out", camera=config, stride=user[0], threshold=user[1])
    assert (result.facts.stride, result.facts.threshold_on) == found


@pytest.mark.parametrize(("setting", "match"), [({"threshold": 2.0}, "alarm thresholds"), ({"stride": -1}, "stride")])
def test_settings_that_do_not_fit_leave_nothing(clip: Path, tmp_path: Path, setting: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        run(clip, tmp_path / "out", **setting)
    assert_nothing_left(tmp_path / "out")


def test_stop_in_the_middle_finishes_all_files(clip: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    result = run(clip, tmp_path / "out", threshold=0.0, stop=stop, on_progress=lambda progress: stop.set())
    assert names(tmp_path / "out") == FIVE
    assert result.summary.interrupted
    assert summary(tmp_path / "out")["interrupted"] is True
    assert 1 <= result.summary.sampled_frames < 5
    assert len(result.events) == 1  # the open event was closed


def test_stop_before_the_first_frame_finishes_the_files_too(clip: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    result = run(clip, tmp_path / "out", stop=stop)
    assert names(tmp_path / "out") == FOUR  # no video without a frame
    assert (result.summary.interrupted, result.summary.sampled_frames) == (True, 0)


def test_a_live_source_that_fails_finishes_the_files_and_then_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = script(monkeypatch, 3, live=True, error=SourceError("cable pulled", remedy="plug it in"))
    with pytest.raises(SourceError, match=r"(?s)cable pulled; results so far are in .*out.*plug it in"):
        run("script", tmp_path / "out", stride=1)
    assert names(tmp_path / "out") == FOUR
    assert "cable pulled" in summary(tmp_path / "out")["warnings"]
    assert source.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "decode"]


def test_a_source_that_dies_of_a_bug_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = script(monkeypatch, 6, error=RuntimeError("decoder bug"))
    with pytest.raises(RuntimeError, match="decoder bug"):
        run("script", tmp_path / "out")
    assert_nothing_left(tmp_path / "out")
    assert source.closed


class DyingBackend(FakeBackend):
    """Fails on its third frame."""

    def encode(self, image: Any, fine: Any, coarse: Any) -> Encoded:
        if len(self.encoded) == 2:
            raise RuntimeError("device lost")
        return super().encode(image, fine, coarse)


def test_a_detector_that_dies_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="device lost"):
        run(clip, tmp_path / "out", backend=DyingBackend(tiny_bundle()))
    assert_nothing_left(tmp_path / "out")


def test_a_full_disk_leaves_nothing_and_keeps_an_earlier_run(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clip, tmp_path / "earlier")
    before = {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()}

    def full(self: ScoresFile, detection: object) -> None:
        from stprompt_edge.files import disk_errors

        with disk_errors(self.target):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ScoresFile, "add", full)
    for out in ("new", "earlier"):
        with pytest.raises(EnvironmentFailure, match=r"disk full while writing .*scores\.csv"):
            run(clip, tmp_path / out)
    assert_nothing_left(tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()} == before


def test_a_progress_display_that_fails_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        raise BrokenPipeError("terminal closed")

    with pytest.raises(BrokenPipeError, match="terminal closed"):
        run(clip, tmp_path / "out", on_progress=fail)
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize("source", ["missing.mp4", "text.mp4"])
def test_a_source_that_cannot_be_opened_makes_no_folder(tmp_path: Path, source: str) -> None:
    videos.write_text_as_video(tmp_path / "text.mp4")
    with pytest.raises(SourceError, match=source):
        run(tmp_path / source, tmp_path / "out")
    assert_nothing_left(tmp_path / "out")


def test_events_of_a_long_run_are_counted_but_not_all_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Blinking(FakeBackend):
        def heads(self, context: np.ndarray, clip: np.ndarray) -> Any:
            self.blink = not getattr(self, "blink", False)
            return dataclasses.replace(
                super().heads(context=context, clip=clip),
                anomaly_logit=np.array([9.0 if self.blink else -9.0], np.float32),
            )

    bundle = tiny_bundle(score="c")
    script(monkeypatch, 240)
    result = run("script", tmp_path / "out", bundle=bundle, backend=Blinking(bundle), stride=1, save_video=False)
    assert result.summary.events == 120
    assert len(result.events) == 100
    assert result.events[-1].end_frame == 238


def test_progress_counts_the_open_event(clip: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    run(clip, tmp_path / "out", threshold=0.0, on_progress=seen.append)
    assert [(item.alarm, item.events, item.camera_frames) for item in seen] == [(True, 1, 20)] * 5


@pytest.mark.parametrize(("of_user", "of_camera", "on"), [(None, None, 0.5), (None, 0.3, 0.3), (0.2, 0.3, 0.2)])
def test_the_threshold_that_is_shown_is_the_one_that_alarms(
    clip: Path, tmp_path: Path, of_user: float | None, of_camera: float | None, on: float
) -> None:
    seen: list[Progress] = []
    camera = CameraConfig(source=str(clip), threshold=of_camera)
    result = run(clip, tmp_path / "out", camera=camera, threshold=of_user, on_progress=seen.append)
    assert {item.threshold_on for item in seen} == {result.facts.threshold_on} == {on}
    mark = score_line(seen[0]).plain.index("┃") - len("score ")
    assert mark == int(on * SCORE_WIDTH)


@pytest.mark.parametrize("by", ["settings", "camera"])
def test_a_stride_that_the_user_set_unlike_the_trained_one_is_a_warning(clip: Path, tmp_path: Path, by: str) -> None:
    asked: dict[str, Any] = {"stride": 4}
    if by == "camera":
        asked = {"camera": CameraConfig(source=str(clip), stride=4)}
    result = run(clip, tmp_path / "out", bundle=tiny_bundle(seconds_between_samples=4.0), **asked)
    assert any("stride 40 is closest" in warning for warning in result.summary.warnings)
    assert (result.facts.stride, summary(tmp_path / "out")["stride"]) == (4, 4)


@pytest.mark.parametrize(
    ("fps", "seconds", "stride"),
    [(10, 1 / 3, 3), (25, 1 / 3, 8), (30, 1 / 3, 10), (12, 1 / 3, 4), (30, 0.01, 1), (25, None, 4)],
)
def test_the_stride_follows_the_seconds_of_training(
    tmp_path: Path, fps: int, seconds: float | None, stride: int
) -> None:
    clip = videos.write_video(tmp_path / "clip.mp4", fps=fps)
    result = run(clip, tmp_path / "out", bundle=tiny_bundle(seconds_between_samples=seconds))
    assert (result.facts.stride, summary(tmp_path / "out")["stride"]) == (stride, stride)
    assert f"1 of every {stride} frames" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not any("stride" in warning for warning in result.summary.warnings)
    assert result.summary.sampled_frames == -(-20 // stride)


@pytest.mark.parametrize(
    ("options", "rate", "warned"),
    [({}, "25.00 per second, assumed", True), ({"fps": 10.0}, "10.00 per second", False),
     ({"camera": "fps"}, "8.00 per second", False), ({"times": "number", "fps": 30.0}, "30.00 per second", False)],
)  # fmt: skip
def test_an_assumed_rate_is_called_assumed(tmp_path: Path, options: dict[str, Any], rate: str, warned: bool) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(10):
        cv2.imwrite(str(folder / f"{number}.png"), videos.picture(number, 64, 48))
    if "camera" in options:
        options = {"camera": CameraConfig(source=str(folder), fps=8.0)}
    result = run(folder, tmp_path / "out", bundle=tiny_bundle(seconds_between_samples=0.2), **options)
    told = summary(tmp_path / "out")
    assert told["source"]["fps_assumed"] is warned
    assert ("the source has no rate of its own, 25 fps assumed: give --fps" in told["warnings"]) is warned
    assert f"<dd>{rate}</dd>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert result.facts.stride == (4 if warned else round(0.2 * float(rate.split()[0])))  # unknown: the bundle's own


def test_what_a_source_lost_is_in_summary_and_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = script(monkeypatch, 8)
    source.losses = Losses(undecodable_packets=1, corrupt_frames=2, concealed_frames=30, missing_frames=400)
    source.warnings = ["file is damaged: everything"]
    result = run("x", tmp_path / "out", stride=2)
    told, page = summary(tmp_path / "out"), (tmp_path / "out" / "report.html").read_text()
    names_of_losses = ("undecodable_packets", "corrupt_frames", "concealed_frames", "missing_frames")
    assert [told[name] for name in names_of_losses] == [1, 2, 30, 400]
    assert "file is damaged: everything" in told["warnings"]
    assert "file is damaged: everything" in result.summary.warnings
    for text in ("file is damaged: everything", "2 corrupt, 30 concealed", "<dd>400</dd>"):
        assert text in page


def test_dropped_frames_are_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = script(monkeypatch, 60, live=True)
    bundle = tiny_bundle()
    backend = FakeBackend(bundle)
    encode = backend.encode

    def slow(*arguments: Any) -> Encoded:
        assert source.ended.wait(10)  # every frame has come before the first is done
        return encode(*arguments)

    monkeypatch.setattr(backend, "encode", slow)
    result = run("x", tmp_path / "out", stride=1, bundle=bundle, backend=backend)
    dropped = result.summary.dropped_frames
    assert dropped > 40
    assert (
        f"{dropped} frames dropped: they came faster than this machine takes them at stride 1"
        in result.summary.warnings
    )


@pytest.mark.parametrize(
    ("settings", "camera", "asked"),
    [
        ({}, {}, {"stream": None, "live": None}),
        ({"stream": 1, "live": True}, {}, {"stream": 1, "live": True}),
        ({}, {"stream": 2, "live": False}, {"stream": 2, "live": False}),
        ({"stream": 0, "live": False}, {"stream": 2, "live": True}, {"stream": 0, "live": False}),
    ],
)
def test_stream_and_liveness_are_the_users_then_the_cameras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any, camera: Any, asked: Any
) -> None:
    source = ScriptedSource(random_frames(4, size_wh=(64, 48)))
    seen: dict[str, Any] = {}
    monkeypatch.setattr(pipeline, "open_source", lambda text, **options: seen.update(options) or source)
    run("x", tmp_path / "out", camera=CameraConfig(source="x", **camera), **settings)
    assert {name: seen[name] for name in asked} == asked
