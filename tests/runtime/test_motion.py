"""Motion and SA², streaming: equal to the whole-video definition in torch, edge by edge."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.runtime.motion import (
    SecondDifference,
    aggregate,
    feature_motion,
    pixel_motion,
    select_windows,
    softmax,
    window_means,
)

from .tiny import GEOMETRY

OVERLAPPING = Geometry(
    image_size=28, patch_size=2, fine=WindowGrid(size=8, stride=4), coarse=WindowGrid(size=10, stride=6)
)


def stream(x_T: Iterable[NDArray[np.float32]], timing: str) -> list[NDArray[np.float32]]:
    difference = SecondDifference(timing)
    pushed = [result for x in x_T if (result := difference.push(x)) is not None]
    return pushed + list(difference.flush())


@pytest.mark.parametrize(
    ("timing", "x", "expected"),
    [
        ("centered", [], []),
        ("causal", [], []),
        ("centered", [5], [0]),
        ("causal", [5], [0]),
        ("centered", [1, 4], [3, -3]),  # both edges repeat the nearest frame
        ("causal", [1, 4], [0, 3]),
        ("centered", [1, 4, 9], [3, 2, -5]),
        ("causal", [1, 4, 9], [0, 3, 2]),
        ("centered", [1, 4, 9, 9], [3, 2, -5, 0]),
        ("causal", [1, 4, 9, 9], [0, 3, 2, -5]),
    ],
)
def test_second_difference_by_hand(timing: str, x: list[float], expected: list[float]) -> None:
    assert [float(d[0]) for d in stream((np.array([v], np.float32) for v in x), timing)] == expected


@pytest.mark.parametrize(("timing", "delay"), [("centered", 1), ("causal", 0)])
def test_results_come_as_late_as_delay_says(timing: str, delay: int) -> None:
    difference = SecondDifference(timing)
    x = np.zeros(1, np.float32)
    assert difference.delay == delay
    assert [difference.push(x) is None for _ in range(5)] == [i < delay for i in range(5)]
    assert len(list(difference.flush())) == delay


@pytest.mark.parametrize("timing", ["centered", "causal"])
@pytest.mark.parametrize("length", [1, 2, 3, 15, 100])
@pytest.mark.parametrize("geometry", [GEOMETRY, OVERLAPPING], ids=["tiling", "overlapping"])
def test_pixel_motion_equals_offline(timing: str, length: int, geometry: Geometry) -> None:
    torch = pytest.importorskip("torch")
    from stprompt_edge.model import aggregation

    luma_THW = np.random.default_rng(length).random((length, 28, 28), dtype=np.float32)
    streamed = np.stack([pixel_motion(d, geometry) for d in stream(luma_THW, timing)])
    windows = torch.from_numpy(geometry.windows_xyxy(geometry.fine))
    offline = aggregation.pixel_motion(torch.from_numpy(luma_THW), windows, timing).numpy()
    assert streamed.dtype == np.float32
    np.testing.assert_allclose(streamed, offline, atol=1e-6)
    selected = aggregation.select_windows(torch.from_numpy(offline), 12).numpy()
    assert [select_windows(m, 12).indices.tolist() for m in streamed] == selected.tolist()


@pytest.mark.parametrize("timing", ["centered", "causal"])
@pytest.mark.parametrize("length", [1, 2, 3, 15, 100])
def test_feature_motion_and_aggregation_equal_offline(timing: str, length: int) -> None:
    torch = pytest.importorskip("torch")
    from stprompt_edge.model import aggregation

    windows_TND = np.random.default_rng(length).normal(size=(length, 49, 8)).astype(np.float32)
    motion_TN = aggregation.feature_motion(torch.from_numpy(windows_TND), timing)
    indices_TK = aggregation.select_windows(motion_TN, 12)
    selected_TKD = torch.from_numpy(windows_TND).gather(1, indices_TK[..., None].expand(-1, -1, 8))
    offline = aggregation.aggregate(selected_TKD, motion_TN.gather(1, indices_TK)).numpy()
    streamed = []
    for windows_ND, difference in zip(windows_TND, stream(windows_TND, timing), strict=True):
        selection = select_windows(feature_motion(difference), 12)
        streamed.append(aggregate(windows_ND[selection.indices], selection.attention))
    np.testing.assert_allclose(np.stack(streamed), offline, atol=1e-5)


def test_window_means_are_in_window_order() -> None:
    image = np.zeros((28, 28), np.float32)
    image[4:8, 0:4] = 1  # second row, first column
    assert np.flatnonzero(window_means(image, GEOMETRY)).tolist() == [7]


@pytest.mark.parametrize(
    ("motion", "count", "indices"),
    [
        ([7.0], 1, [0]),
        ([7.0], 12, [0]),  # fewer windows than asked for
        ([7.0, 1.0], 0, []),
        ([0.0, 0.0, 0.0], 2, [0, 1]),  # nothing moves: ties go to the lower index
        ([1.0, 3.0, 3.0, 2.0], 3, [1, 2, 3]),
    ],
)
def test_selection(motion: list[float], count: int, indices: list[int]) -> None:
    selection = select_windows(np.array(motion, np.float32), count)
    assert selection.indices.tolist() == indices
    assert selection.indices.dtype == np.int64
    np.testing.assert_allclose(selection.attention, softmax(np.array([motion[i] for i in indices], np.float32)))


def test_of_no_windows_the_aggregate_is_zero() -> None:
    selected = np.zeros((0, 3), np.float32)
    found = aggregate(selected, select_windows(np.ones(4, np.float32), 0).attention)
    assert (found.tolist(), found.dtype) == ([0.0, 0.0, 0.0], np.float32)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=60))
def test_softmax_is_a_distribution_even_for_huge_values(values: list[float]) -> None:
    result = softmax(np.array(values, np.float32))
    assert result.dtype == np.float32
    assert (result >= 0).all()
    assert result.sum() == pytest.approx(1, abs=1e-5)
