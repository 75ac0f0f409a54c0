"""Eq. 1-3 against loops over frames and windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stprompt_edge.geometry import Geometry
from stprompt_edge.model.aggregation import aggregate, feature_motion, pixel_motion, second_difference, select_windows

OFFSETS = {"centered": (-1, 0, 1), "causal": (-2, -1, 0)}
LENGTHS = pytest.mark.parametrize("length", [1, 2, 3, 7])
TIMINGS = pytest.mark.parametrize("timing", OFFSETS)


def literal_second_difference(x: NDArray, timing: str) -> NDArray:
    """x[i + c] - 2 x[i + b] + x[i + a]; an index outside repeats the nearest frame."""
    result = np.zeros_like(x)
    for i in range(len(x)):
        a, b, c = (x[min(max(i + offset, 0), len(x) - 1)] for offset in OFFSETS[timing])
        result[i] = c - 2 * b + a
    return result


@LENGTHS
@TIMINGS
def test_second_difference(length: int, timing: str) -> None:
    x = np.random.default_rng(0).standard_normal((length, 2, 3))
    got = second_difference(torch.from_numpy(x), timing)
    np.testing.assert_allclose(got, literal_second_difference(x, timing), atol=1e-12)


@TIMINGS
def test_a_single_frame_does_not_move(timing: str) -> None:
    assert second_difference(torch.rand(1, 4), timing).abs().max() == 0


@TIMINGS
def test_steady_change_is_no_motion_but_a_jump_is(timing: str) -> None:
    ramp = torch.arange(8.0)
    inner = second_difference(ramp, timing)[2:-1]
    assert inner.abs().max() == 0
    assert second_difference((ramp > 4).float(), timing).abs().max() == 1


@LENGTHS
@TIMINGS
def test_feature_motion(length: int, timing: str) -> None:
    windows = np.random.default_rng(1).standard_normal((length, 5, 4))
    expected = np.sqrt((literal_second_difference(windows, timing) ** 2).sum(axis=2))
    np.testing.assert_allclose(feature_motion(torch.from_numpy(windows), timing), expected, atol=1e-12)


@LENGTHS
@TIMINGS
def test_pixel_motion(length: int, timing: str) -> None:
    geometry = Geometry()
    windows_xyxy = geometry.windows_xyxy(geometry.fine)
    luma = np.random.default_rng(2).random((length, 224, 224))
    change = np.abs(literal_second_difference(luma, timing))
    expected = np.array([[frame[y0:y1, x0:x1].mean() for x0, y0, x1, y1 in windows_xyxy] for frame in change])
    got = pixel_motion(torch.from_numpy(luma), torch.from_numpy(windows_xyxy), timing)
    assert got.shape == (length, 49)
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 12, 49])
def test_select_windows(count: int) -> None:
    motion = np.random.default_rng(3).random((4, 49))
    expected = [sorted(range(49), key=lambda n: (-row[n], n))[:count] for row in motion]
    got = select_windows(torch.from_numpy(motion), count)
    assert got.dtype == torch.int64
    assert got.shape == (4, count)
    assert got.tolist() == expected


def test_ties_go_to_the_lower_index() -> None:
    assert select_windows(torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0]]), 4).tolist() == [[1, 3, 0, 2]]


def test_without_motion_the_first_windows_are_selected() -> None:
    assert select_windows(torch.zeros(1, 49), 12).tolist() == [list(range(12))]


@pytest.mark.parametrize("count", [1, 12])
def test_aggregate(count: int) -> None:
    rng = np.random.default_rng(4)
    selected, motion = rng.standard_normal((3, count, 5)), rng.random((3, count))
    expected = np.zeros((3, 5))
    for t in range(3):
        weights = np.exp(motion[t]) / np.exp(motion[t]).sum()
        for k in range(count):
            expected[t] += weights[k] * selected[t, k]
    got = aggregate(torch.from_numpy(selected), torch.from_numpy(motion))
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_equal_motion_gives_the_plain_mean() -> None:
    selected = torch.rand(2, 12, 5)
    torch.testing.assert_close(aggregate(selected, torch.full((2, 12), 0.3)), selected.mean(dim=1))
