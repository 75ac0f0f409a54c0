"""The most telling frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stprompt_edge.evaluation.pictures import TRUE, TellingFrames, choose_pictures, draw_pair
from stprompt_edge.evaluation.records import Picture
from stprompt_edge.evaluation.truth import Area
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import Box, Detection, Localization

from .scored import located


def detected(frame: int, size_wh: tuple[int, int] = (60, 40)) -> tuple[Detection, CameraFrame]:
    image = np.full((size_wh[1], size_wh[0], 3), 30, np.uint8)
    localization = Localization(
        heat_map=np.zeros((14, 14), np.float32), boxes=(Box(x0=5, y0=5, x1=20, y1=20, probability=0.9),)
    )
    detection = Detection(
        frame_index=frame, seconds=frame / 10, score=0.9, class_probabilities=np.array([0.1, 0.9], np.float32),
        top_class="fire", top_probability=0.9, alarm=True, localization=localization,
    )  # fmt: skip
    return detection, CameraFrame(index=frame, seconds=frame / 10, image_bgr=image)


BOXED = Area(boxes_xyxy=np.array([[10.0, 10.0, 30.0, 30.0]]))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([], []),
        ([(0.5, 0.9)], [0]),
        ([(0.0, 0.9), (0.5, 0.9)], [1, 0]),  # what was best before becomes the worst
        ([(0.5, 0.9), (0.1, 0.9), (0.2, 0.9)], [0, 1]),
        ([(0.5, 0.9), (0.0, 0.1), (0.2, 0.9)], [0, 2]),  # a low score is no surprise
        ([(0.5, 0.9), (0.0, 0.1)], [0, 1]),
    ],
)
def test_the_best_and_the_worst_of_a_video(frames: list, expected: list[int]) -> None:
    telling = TellingFrames("x", "fire")
    for index, (iou, score) in enumerate(frames):
        telling.add(located(iou, score, index), *detected(index), BOXED)
    assert [picture.located.frame for picture in telling.pictures()] == expected


def picture(video: str, iou: float, score: float = 0.9, frame: int = 0) -> Picture:
    return Picture(video=video, label="fire", seconds=0.0, located=located(iou, score, frame), jpeg=b"")


def test_of_all_videos_each_frame_is_shown_once() -> None:
    pictures = [picture("a", 0.9), picture("a", 0.1, frame=5), picture("b", 0.5), picture("b", 0.3, frame=5)]
    best, worst = choose_pictures(pictures)
    assert [(p.video, p.located.iou) for p in best] == [("a", 0.9), ("b", 0.5)]
    assert [(p.video, p.located.iou) for p in worst] == [("a", 0.1), ("b", 0.3)]
    best, worst = choose_pictures(pictures[:1])
    assert (len(best), len(worst)) == (1, 0)
    assert choose_pictures([]) == ((), ())


def test_at_most_four_of_each_kind_from_different_videos() -> None:
    pictures = [picture(f"v{i}", i / 10, frame=f) for i in range(9) for f in (0, 5)]
    best, worst = choose_pictures(pictures)
    assert [p.located.iou for p in best] == [0.8, 0.7, 0.6, 0.5]
    assert [p.video for p in worst] == ["v0", "v1", "v2", "v3"]


@pytest.mark.parametrize("size_wh", [(60, 40), (40, 60), (1920, 1080), (1, 1)])
def test_pairs_have_one_size_whatever_the_video(size_wh: tuple[int, int]) -> None:
    pair = draw_pair(*detected(0, size_wh), BOXED)
    half = round(480 * min(1.0, size_wh[0] / size_wh[1]))
    assert pair.shape == (round(480 * min(1.0, size_wh[1] / size_wh[0])), 2 * half + 6, 3)


def test_truth_is_green_on_the_left_only() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:30] = True
    for area in (BOXED, Area(mask=mask)):
        pair = draw_pair(*detected(0), area)
        green = (pair == TRUE).all(axis=2)
        assert green[:, :480].any()
        assert not green[:, 480:].any()
        assert abs(np.flatnonzero(green.any(axis=0))[0] - 80) <= 3  # x0 = 10 of 60, in 480 pixels


def test_pictures_are_jpegs() -> None:
    telling = TellingFrames("x", "fire")
    telling.add(located(0.5), *detected(3), BOXED)
    (shown,) = telling.pictures()
    assert (shown.video, shown.label, shown.seconds) == ("x", "fire", 0.3)
    assert cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
