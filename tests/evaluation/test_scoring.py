"""One video through the shipped observer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stprompt_edge.bundle import AlarmSection, Bundle, LocalizationSection
from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.evaluation import scoring
from stprompt_edge.evaluation.figures import streaming_figures
from stprompt_edge.evaluation.scoring import VideoScorer, anomalies
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.track import TrackedFrame
from tests import videos
from tests.runtime.tiny import GEOMETRY, VARIANTS, tiny_bundle

BOXES: Any = {frame: ((8, 8, 40, 40),) for frame in range(6, 14)}
FEW, ALL = (12, 0), (GEOMETRY.fine_count, GEOMETRY.coarse_count)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=23, fps=10, noise=60)


def labelled(path: Path, **changes: Any) -> LabelledVideo:
    values = {"path": path, "name": "clip", "label": "fire", "split": "test", "frame_ranges": ((6, 14),)}
    return LabelledVideo(**{**values, **changes})


def boxed(path: Path) -> LabelledVideo:
    return labelled(path, boxes=BOXES, boxes_size_wh=(64, 48))


def shipped(path: Path, bundle: Bundle, **options: Any) -> list[TrackedFrame]:
    observer = Observer(bundle, FakeBackend(bundle), **options)
    with open_source(str(path)) as source:
        found = [one for frame in source.frames(lambda i: i % 4 == 0) for one in observer.push(frame)]
    return found + observer.flush()


@pytest.mark.parametrize(
    ("seconds", "given", "streaming", "stride"),
    [(0.2, None, True, 2), (1 / 3, None, True, 3), (None, None, True, 4), (0.2, 5, True, 5), (0.2, None, False, 4)],
)
def test_streaming_takes_the_stride_that_run_takes(
    clip: Path, seconds: float | None, given: int | None, streaming: bool, stride: int
) -> None:
    bundle = tiny_bundle(seconds_between_samples=seconds)
    video = VideoScorer(bundle, FakeBackend(bundle), stride=given, streaming=streaming)(labelled(clip))
    assert (video.stride, len(video.seconds)) == (stride, -(-23 // stride))


@pytest.mark.parametrize(("fps", "stride", "spacing"), [(10.0, 2, 0.2), (20.0, 4, 0.2), (None, 4, 0.16)])
def test_an_image_folder_of_a_given_rate(tmp_path: Path, fps: float | None, stride: int, spacing: float) -> None:
    for number in range(9):
        cv2.imwrite(str(tmp_path / f"{number}.png"), videos.picture(number, 64, 48))
    bundle = tiny_bundle(seconds_between_samples=0.2)
    score = VideoScorer(bundle, FakeBackend(bundle), stride=None, streaming=True, fps=fps)
    video = score(labelled(tmp_path, frame_ranges=((3, 5),)))
    assert (video.stride, video.seconds[1]) == (stride, pytest.approx(spacing))


@pytest.mark.parametrize("method", [{"name": "stprompt"}, {"name": "zero-shot"}])
@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
def test_streaming_at_full_lookahead_equals_offline(clip: Path, method: dict, motion: str, timing: str) -> None:
    bundle = tiny_bundle(motion=motion, motion_timing=timing, **method)
    streamed, offline = (
        VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=streaming)(boxed(clip))
        for streaming in (True, False)
    )
    np.testing.assert_allclose(streamed.scores[None], offline.scores[None], atol=1e-6)
    assert not np.allclose(streamed.scores[0], offline.scores[None], atol=1e-6)
    assert set(offline.scores) == {None}
    assert (offline.alarm, offline.located) == (None, ())


@pytest.mark.parametrize("streaming", [False, True])
def test_offline_holds_no_images(clip: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    class Watched(Observer):
        def push(self, frame: CameraFrame) -> list[TrackedFrame]:
            found = super().push(frame)
            held.extend(one.embedded.image is not None for one in found)
            return found

    monkeypatch.setattr(scoring, "Observer", Watched)
    bundle = tiny_bundle(sigma=0.05)  # a kernel that reaches no other frame: nothing is held back
    VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=streaming)(labelled(clip))
    assert held == [streaming] * 5


def test_streaming_is_what_the_runtime_does(clip: Path) -> None:
    alarm = AlarmSection(threshold_on=0.66, threshold_off=0.66)
    bundle = tiny_bundle(name="zero-shot", alarm=alarm)
    video = VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=True)(boxed(clip))
    expected = [one.detection for one in shipped(clip, bundle)]
    np.testing.assert_array_equal(video.scores[0], [one.score for one in expected])
    assert video.alarm is not None
    assert video.alarm.tolist() == [one.alarm for one in expected]
    assert video.seconds.tolist() == [one.seconds for one in expected]


def test_what_is_known_of_the_video(clip: Path) -> None:
    bundle = tiny_bundle()
    video = VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=False)(labelled(clip))
    assert (video.name, video.label, video.frame_count, video.fps) == ("clip", "fire", 23, 10.0)
    assert video.seconds == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0])
    assert video.duration_seconds == pytest.approx(2.3)
    assert video.labels is not None
    assert np.flatnonzero(video.labels).tolist() == list(range(6, 14))
    (anomaly,) = video.anomalies
    assert (anomaly.start_seconds, anomaly.end_seconds) == pytest.approx((0.6, 1.4))


def test_annotated_frames_are_localized_and_nothing_is_encoded_twice_without_need(clip: Path) -> None:
    quiet = AlarmSection(threshold_on=1.0, threshold_off=1.0)
    bundle = tiny_bundle(motion_timing="causal", alarm=quiet, localization=LocalizationSection(tau=0.5, threshold=0.0))
    backend = FakeBackend(bundle)
    video = VideoScorer(bundle, backend, stride=4, streaming=True)(boxed(clip))
    # sampled 0 4 8 12 16 20; frames 6-13 are annotated: 4 stands for 6, 8 for itself, 12 for itself
    assert backend.encoded == [FEW, FEW, ALL, FEW, ALL, FEW, ALL, FEW, FEW]
    assert [one.frame for one in video.located] == [6, 8, 12]
    # everything is hotter than 0, so one box covers the frame
    assert [one.iou for one in video.located] == pytest.approx([32 * 32 / (64 * 48)] * 3)
    assert [one.true_share for one in video.located] == pytest.approx([32 * 32 / (64 * 48)] * 3)
    assert [one.score for one in video.located] == [video.scores[0][row] for row in (1, 2, 3)]
    assert len(video.pictures) == 2


def test_localizing_annotated_frames_leaves_their_scores_alone(clip: Path) -> None:
    bundle = tiny_bundle(alarm=AlarmSection(threshold_on=1.0, threshold_off=1.0))
    score = VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=True)
    np.testing.assert_array_equal(score(boxed(clip)).scores[0], score(labelled(clip)).scores[0])


def test_a_video_that_nobody_annotated(clip: Path) -> None:
    bundle = tiny_bundle()
    score = VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=True)
    unknown = score(labelled(clip, frame_ranges=None))
    assert (unknown.labels, unknown.anomalies, unknown.pictures) == (None, (), ())
    normal = score(labelled(clip, label="normal", frame_ranges=None))
    assert normal.labels is not None
    assert not normal.labels.any()


def test_a_range_that_reaches_beyond_the_end_is_cut(clip: Path) -> None:
    bundle = tiny_bundle()
    score = VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=False)
    (anomaly,) = score(labelled(clip, frame_ranges=((20, 99),))).anomalies
    assert (anomaly.start_seconds, anomaly.end_seconds) == pytest.approx((2.0, 2.3))
    with pytest.raises(UsageError, match="its annotation begins at frame 30"):
        score(labelled(clip, frame_ranges=((30, 40),)))


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (((0, 10), (19, 30)), [(0.0, 3.0)]),
        (((0, 10), (20, 30)), [(0.0, 1.0), (2.0, 3.0)]),
        (((0, 10), (15, 20), (25, 30), (45, 50)), [(0.0, 3.0), (4.5, 5.0)]),
        (((5, 99),), [(0.5, 6.0)]),
        ((), []),
    ],
)
def test_short_gaps_do_not_end_an_anomaly(
    clip: Path, ranges: tuple[tuple[int, int], ...], expected: list[tuple[float, float]]
) -> None:
    found = anomalies(labelled(clip, frame_ranges=ranges), 60, lambda frames: np.asarray(frames, np.float64) / 10)
    assert [(one.start_seconds, one.end_seconds) for one in found] == expected


def test_a_sampled_image_that_cannot_be_read_has_the_score_before_it(tmp_path: Path) -> None:
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), videos.picture(index * 5, 64, 48))
    whole = tiny_bundle()
    score = VideoScorer(whole, FakeBackend(whole), stride=2, streaming=True)
    (tmp_path / "2.png").write_bytes(b"damaged")
    video = score(labelled(tmp_path, frame_ranges=((1, 2),)))
    assert len(video.seconds) == 3
    assert video.scores[0][1] == video.scores[0][0] != video.scores[0][2]
    assert video.warnings == ("skipped 1 unreadable images, the first is 2.png",)
    for index in (0, 4):
        (tmp_path / f"{index}.png").write_bytes(b"damaged")
    with pytest.raises(SourceError, match="none of its sampled frames can be read"):
        score(labelled(tmp_path, frame_ranges=((1, 2),)))


def test_annotated_frames_that_were_never_seen_count_as_not_found(tmp_path: Path) -> None:
    for index in range(8):
        cv2.imwrite(str(tmp_path / f"{index}.png"), videos.picture(index * 5, 64, 48))
    (tmp_path / "4.png").write_bytes(b"damaged")
    everywhere = LocalizationSection(tau=0.5, threshold=0.0)  # one box covers the frame
    bundle = tiny_bundle(localization=everywhere)
    score = VideoScorer(bundle, FakeBackend(bundle), stride=2, streaming=True)
    boxes: Any = dict.fromkeys((2, 5, 30), ((0, 0, 64, 24),))
    video = score(labelled(tmp_path, frame_ranges=((1, 8),), boxes=boxes, boxes_size_wh=(64, 48)))
    assert [(one.frame, one.iou, one.true_share) for one in video.located] == [(2, 0.5, 0.5), (5, 0, 0.5), (30, 0, 0.5)]
    assert [one.score > 0 for one in video.located] == [True, False, False]
    assert "2 annotated frames cannot be decoded or lie behind its end: their IoU is 0" in video.warnings
    lost: Any = {30: boxes[30]}
    (one,) = score(labelled(tmp_path, frame_ranges=None, boxes=lost, boxes_size_wh=(64, 48))).located
    assert (one.frame, one.iou) == (30, 0.0)
    offline = VideoScorer(bundle, FakeBackend(bundle), stride=2, streaming=False)
    assert offline(labelled(tmp_path, frame_ranges=None, boxes=lost, boxes_size_wh=(64, 48))).located == ()


def test_behind_the_end_only_what_a_mask_marks_is_annotated(tmp_path: Path) -> None:
    frames, masks = tmp_path / "frames", tmp_path / "x_annotations"
    frames.mkdir()
    masks.mkdir()
    (masks / "x_tracks.txt").write_text("1,7,20")
    for index in range(12):
        mask = np.zeros((48, 64), np.uint8)
        mask[:, :32] = index in (7, 10)
        cv2.imwrite(str(masks / f"x_{index:04d}_gt.png"), mask)
        if index < 8:
            cv2.imwrite(str(frames / f"{index}.png"), videos.picture(index * 5, 64, 48))
    bundle = tiny_bundle()
    score = VideoScorer(bundle, FakeBackend(bundle), stride=2, streaming=True)
    found = score(labelled(frames, frame_ranges=((7, 20),), masks=masks)).located
    assert [one.frame for one in found] == [7, 10]  # 8 is marked nowhere, 12 and later have no mask
    assert (found[1].iou, found[1].true_share) == (0.0, 0.5)


@pytest.mark.parametrize("damaged", [(0,), (0, 1, 2, 3), (0, 5)])
def test_times_rise_where_the_first_sampled_images_cannot_be_read(tmp_path: Path, damaged: tuple[int, ...]) -> None:
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), videos.picture(index * 5, 64, 48))
    for index in damaged:
        (tmp_path / f"{index}.png").write_bytes(b"damaged")
    bundle = tiny_bundle()
    score = VideoScorer(bundle, FakeBackend(bundle), stride=2, streaming=True)
    video = score(labelled(tmp_path, frame_ranges=((1, 3),)))
    assert video.seconds == pytest.approx([0, 2 / 25, 4 / 25])
    assert video.duration_seconds == pytest.approx(6 / 25)
    (anomaly,) = video.anomalies
    assert (anomaly.start_seconds, anomaly.end_seconds) == pytest.approx((1 / 25, 3 / 25))
    streaming_figures([video], bundle.manifest.method, bundle.manifest.alarm, "boxes")  # wants times that rise


def test_progress_ends_near_one(clip: Path) -> None:
    bundle, seen = tiny_bundle(), []
    VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=False)(labelled(clip), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(20 / 23)


def test_what_is_scored_can_travel_between_processes(clip: Path) -> None:
    import pickle

    bundle = tiny_bundle()
    video = VideoScorer(bundle, FakeBackend(bundle), stride=4, streaming=True)(boxed(clip))
    again = pickle.loads(pickle.dumps(video))
    assert dataclasses.replace(again).located == video.located
