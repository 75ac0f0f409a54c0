from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from stprompt_edge.features.segments import segment_bounds, segment_means


@pytest.mark.parametrize(
    ("length", "segments", "expected"),
    [
        (1, 1, [(0, 1)]),
        (1, 3, [(0, 1)] * 3),
        (4, 2, [(0, 2), (2, 4)]),
        (5, 2, [(0, 2), (2, 5)]),
        (2, 4, [(0, 1), (0, 1), (1, 2), (1, 2)]),
    ],
)
def test_segment_bounds_by_hand(length: int, segments: int, expected: list[tuple[int, int]]) -> None:
    assert segment_bounds(length, segments) == expected


@given(st.integers(1, 5000), st.integers(1, 64))
def test_segments_cover_every_frame_and_none_is_empty(length: int, segments: int) -> None:
    bounds = segment_bounds(length, segments)
    assert len(bounds) == segments
    assert set().union(*(range(*bound) for bound in bounds)) == set(range(length))
    assert all(start < stop <= length for start, stop in bounds)


def test_segment_means_by_hand() -> None:
    windows = np.arange(12, dtype=np.float16).reshape(3, 2, 2)
    means = segment_means(windows, 3, 2)
    assert means.dtype == np.float16
    assert means.tolist() == [[[0, 1], [2, 3]], [[6, 7], [8, 9]]]


def test_segment_means_of_an_open_file(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).normal(size=(7, 3, 4)).astype(np.float16)
    save_file({"windows": windows}, tmp_path / "f")
    with safe_open(tmp_path / "f", framework="numpy") as file:
        part = file.get_slice("windows")
        means = segment_means(part, part.get_shape()[0], 3)
    np.testing.assert_array_equal(means, segment_means(windows, 7, 3))
