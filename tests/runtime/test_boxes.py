"""Boxes from every kind of heat map and frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.runtime.boxes import find_boxes

HD, UHD8 = (1280, 720), (7680, 4320)


def heat(*hot_xy: tuple[int, int], value: float = 0.9) -> np.ndarray:
    """[14, 14] with some hot tokens."""
    result = np.zeros((14, 14), np.float32)
    for x, y in hot_xy:
        result[y, x] = value
    return result


@pytest.mark.parametrize("size_wh", [(1, 1), (14, 14), (641, 359), HD, UHD8])
def test_nothing_hot_gives_no_box(size_wh: tuple[int, int]) -> None:
    assert find_boxes(heat(), size_wh, 0.5) == ()


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (14, 14), (641, 359), HD, UHD8, (10000, 1), (1, 10000)])
def test_all_hot_gives_one_box_of_the_whole_frame(size_wh: tuple[int, int]) -> None:
    (box,) = find_boxes(np.full((14, 14), 0.8, np.float32), size_wh, 0.5)
    assert (box.x0, box.y0, box.x1, box.y1) == (0, 0, *size_wh)
    assert box.probability == pytest.approx(0.8)


@pytest.mark.parametrize("size_wh", [(14, 14), (280, 140), (641, 359), HD, UHD8])
@pytest.mark.parametrize("token", [(0, 0), (13, 0), (6, 9), (13, 13)])
def test_one_hot_token_gives_a_box_around_its_middle(token: tuple[int, int], size_wh: tuple[int, int]) -> None:
    (box,) = find_boxes(heat(token), size_wh, 0.5)
    width, height = size_wh
    middle = (token[0] + 0.5) * width / 14, (token[1] + 0.5) * height / 14
    assert box.x0 <= middle[0] <= box.x1
    assert box.y0 <= middle[1] <= box.y1
    slack = max(width, height) / 640 * 2 + 1  # boxes are found on a smaller map
    assert box.x1 - box.x0 <= width / 14 + slack
    assert box.y1 - box.y0 <= height / 14 + slack
    assert 0.5 < box.probability <= 0.9


def test_two_regions_come_hottest_first() -> None:
    first, second = find_boxes(heat((2, 2), value=0.7) + heat((10, 11), value=0.95), HD, 0.5)
    assert first.probability > second.probability
    assert first.x0 > 640 > second.x1


def test_neighbouring_tokens_make_one_box() -> None:
    (box,) = find_boxes(heat((3, 3), (4, 3), (4, 4)), (140, 140), 0.3)
    assert box.x0 <= 35 <= 45 <= box.x1


def test_the_threshold_itself_is_not_hot() -> None:
    assert find_boxes(np.full((14, 14), 0.5, np.float32), HD, 0.5) == ()


@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.floats(0, 1),
)
def test_boxes_are_never_empty_nor_outside(seed: int, size_wh: tuple[int, int], threshold: float) -> None:
    map_GG = np.random.default_rng(seed).random((14, 14), dtype=np.float32)
    boxes = find_boxes(map_GG, size_wh, threshold)
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= size_wh[0]
        assert 0 <= box.y0 < box.y1 <= size_wh[1]
        assert threshold < box.probability <= 1
    assert [b.probability for b in boxes] == sorted((b.probability for b in boxes), reverse=True)
