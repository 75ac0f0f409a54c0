"""Annotated frames and how well a localization fits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.errors import UsageError
from stprompt_edge.evaluation.truth import AnnotatedFrames, hot_pixels
from stprompt_edge.runtime.records import Box, Localization

BOX = ((0, 0, 10, 10),)


def video(**changes: Any) -> LabelledVideo:
    values = {"path": Path("x.mp4"), "name": "x", "label": "fire", "split": "test"}
    return LabelledVideo(**{**values, **changes})


def boxed(*frames: int, empty: int | None = None) -> LabelledVideo:
    boxes: dict[int, Any] = {frame: BOX for frame in frames}
    return video(boxes=boxes | ({} if empty is None else {empty: ()}), boxes_size_wh=(20, 20))


def masked(path: Path, mask: np.ndarray, ranges: tuple) -> LabelledVideo:
    np.save(path, mask)
    return video(masks=path, frame_ranges=ranges)


@pytest.mark.parametrize(
    ("frames", "stride", "expected"),
    [
        ((0, 1, 2, 3, 4, 5), 4, {0: 0, 4: 4}),
        ((211, 227), 16, {208: 211, 224: 227}),  # UCF-Crime's boxes are not on sampled frames
        ((5, 3), 4, {0: 3, 4: 5}),
        ((7,), 1, {7: 7}),
        ((), 4, {}),
    ],
)
def test_a_sampled_frame_is_compared_with_the_first_annotated_one_it_stands_for(
    frames: tuple, stride: int, expected: dict
) -> None:
    assert AnnotatedFrames(boxed(*frames), stride).first_of == expected


def test_a_frame_with_an_empty_list_of_boxes_is_not_annotated() -> None:
    annotated = AnnotatedFrames(boxed(1, empty=0), 1)
    assert annotated.first_of == {1: 1}
    assert annotated.truth == "boxes"


def test_boxes_are_scaled_to_the_frame() -> None:
    area = AnnotatedFrames(boxed(0), 1).area(0, (40, 10))
    assert area is not None
    assert area.boxes_xyxy is not None
    assert area.boxes_xyxy.tolist() == [[0, 0, 20, 5]]
    assert area.share((40, 10)) == 0.25
    found = Localization(heat_map=np.zeros((14, 14), np.float32), boxes=(Box(x0=0, y0=0, x1=10, y1=5, probability=1),))
    assert area.iou(found, 0.5) == 0.5
    assert area.iou(Localization(heat_map=found.heat_map, boxes=()), 0.5) == 0.0


@pytest.mark.parametrize(
    ("ranges", "stride", "expected"),
    [(((0, 8),), 4, {0: 0, 4: 4}), (((3, 6),), 4, {0: 3, 4: 4}), (((1, 2), (6, 7)), 4, {0: 1, 4: 6})],
)
def test_masks_are_looked_at_where_frames_are_abnormal(
    tmp_path: Path, ranges: tuple, stride: int, expected: dict
) -> None:
    annotated = AnnotatedFrames(masked(tmp_path / "m.npy", np.ones((8, 2, 2)), ranges), stride)
    assert annotated.first_of == expected
    assert annotated.truth == "masks"


def test_a_mask_is_compared_with_the_hot_pixels(tmp_path: Path) -> None:
    mask = np.zeros((2, 28, 28))
    mask[1, :14] = 1
    annotated = AnnotatedFrames(masked(tmp_path / "m.npy", mask, ((0, 2),)), 1)
    assert annotated.area(0, (28, 28)) is None  # abnormal by its range, but nothing is marked
    area = annotated.area(1, (28, 28))
    assert area is not None
    assert area.share((28, 28)) == 0.5
    heat = np.zeros((14, 14), np.float32)
    heat[:7] = 1
    assert area.iou(Localization(heat_map=heat, boxes=()), 0.5) == 1.0
    assert area.iou(Localization(heat_map=heat.T.copy(), boxes=()), 0.5) == pytest.approx(1 / 3)


def test_a_mask_that_is_gone_is_told(tmp_path: Path) -> None:
    annotated = AnnotatedFrames(video(masks=tmp_path / "gone.npy", frame_ranges=((0, 2),)), 1)
    with pytest.raises(UsageError, match="cannot read "):
        annotated.area(0, (4, 4))


def test_nothing_annotated() -> None:
    assert AnnotatedFrames(video(), 4).first_of == {}


def test_hot_pixels_are_strictly_above_the_threshold() -> None:
    assert not hot_pixels(np.full((14, 14), 0.5, np.float32), (30, 40), 0.5).any()
    assert hot_pixels(np.full((14, 14), 0.6, np.float32), (30, 40), 0.5).shape == (30, 40)
