"""The adapter's kernel on a stream: equal to rows of A x, in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.runtime.temporal import StreamingKernel, kernel_reach


def stream(x_TD: NDArray[np.float32], sigma: float, lookahead: int | None) -> NDArray[np.float32]:
    kernel = StreamingKernel(x_TD.shape[1], sigma, lookahead)
    rows = [row for x_D in x_TD if (row := kernel.push(x_D)) is not None]
    return np.stack(rows + list(kernel.flush()))


@pytest.mark.parametrize(("sigma", "reach"), [(0.05, 0), (0.1, 1), (1.0, 13), (2.5, 34), (20.0, 276)])
def test_reach_is_the_last_weight_of_at_least_a_millionth(sigma: float, reach: int) -> None:
    assert kernel_reach(sigma) == reach
    assert math.exp(-reach / sigma) >= 1e-6 > math.exp(-(reach + 1) / sigma)


@pytest.mark.parametrize("lookahead", [0, 1, None])
def test_an_empty_stream_gives_nothing(lookahead: int | None) -> None:
    assert list(StreamingKernel(3, 1.0, lookahead).flush()) == []


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("length", [1, 2, 3, 15, 100, 700])
def test_full_lookahead_equals_the_offline_kernel(length: int, sigma: float) -> None:
    torch = pytest.importorskip("torch")
    from stprompt_edge.model.temporal import distance_kernel

    x_TD = np.random.default_rng(length).normal(size=(length, 8)).astype(np.float32)
    offline = (distance_kernel(length, sigma) @ torch.from_numpy(x_TD)).numpy()
    streamed = stream(x_TD, sigma, None)
    assert streamed.dtype == np.float32
    np.testing.assert_allclose(streamed, offline, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("lookahead", [0, 1, 3])
@pytest.mark.parametrize("length", [1, 2, 15, 100])
def test_short_lookahead_is_the_row_cut_off_and_renormalised(length: int, lookahead: int, sigma: float) -> None:
    x_TD = np.random.default_rng(length).normal(size=(length, 4)).astype(np.float32)
    literal = []
    for i in range(length):
        j = np.arange(min(i + lookahead, length - 1) + 1)
        weights = np.exp(-np.abs(i - j) / sigma)
        literal.append(weights @ x_TD[j] / weights.sum())
    np.testing.assert_allclose(stream(x_TD, sigma, lookahead), np.stack(literal), atol=1e-5)


@pytest.mark.parametrize("lookahead", [0, 2, None])
def test_a_row_comes_lookahead_pushes_late(lookahead: int | None) -> None:
    kernel = StreamingKernel(1, 1.0, lookahead)
    late = kernel.lookahead
    assert late == (13 if lookahead is None else lookahead)
    assert [kernel.push(np.ones(1)) is None for _ in range(20)] == [i < late for i in range(20)]
    assert len(list(kernel.flush())) == late


def test_lookahead_beyond_the_reach_waits_no_longer_than_the_reach() -> None:
    assert StreamingKernel(1, 1.0, 1000).lookahead == 13


def test_the_buffer_does_not_grow() -> None:
    kernel = StreamingKernel(2, 1.0, None)
    before = kernel._ring_WD.nbytes
    for _ in range(1000):
        kernel.push(np.ones(2, np.float32))
    assert kernel._ring_WD.nbytes == before == (13 + 1 + 13) * 2 * 4


def test_rows_are_owned_by_the_receiver() -> None:
    kernel = StreamingKernel(1, 1.0)
    row = kernel.push(np.ones(1, np.float32))
    assert row is not None
    row[:] = 99
    again = kernel.push(np.ones(1, np.float32))
    assert again is not None
    assert again[0] == pytest.approx(1)
