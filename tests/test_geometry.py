"""Windows on the token grid against brute force over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stprompt_edge.geometry import Geometry, WindowGrid

REFERENCE = Geometry()
SMALL = Geometry(
    image_size=64, patch_size=8, fine=WindowGrid(size=16, stride=16), coarse=WindowGrid(size=32, stride=16)
)
SINGLE = Geometry(
    image_size=16, patch_size=16, fine=WindowGrid(size=16, stride=16), coarse=WindowGrid(size=16, stride=16)
)
ALL = pytest.mark.parametrize("geometry", [SINGLE, SMALL, REFERENCE], ids=["one token", "small", "reference"])


def grids(geometry: Geometry) -> list[WindowGrid]:
    return [geometry.fine, geometry.coarse]


def per_pixel_average(geometry: Geometry, grid: WindowGrid, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """[image_size, image_size]: each pixel is the mean of the scores of the windows that contain it."""
    total, count = np.zeros((2, geometry.image_size, geometry.image_size))
    corners = range(0, geometry.image_size - grid.size + 1, grid.stride)
    for score, (y, x) in zip(scores, [(y, x) for y in corners for x in corners], strict=True):
        total[y : y + grid.size, x : x + grid.size] += score
        count[y : y + grid.size, x : x + grid.size] += 1
    return total / count


def to_pixels(geometry: Geometry, tokens_GG: NDArray[np.float32]) -> NDArray[np.float32]:
    return tokens_GG.repeat(geometry.patch_size, axis=0).repeat(geometry.patch_size, axis=1)


@pytest.mark.parametrize(
    ("geometry", "counts", "tokens_per_side"), [(SINGLE, (1, 1), 1), (SMALL, (16, 9), 8), (REFERENCE, (49, 16), 14)]
)
def test_counts(geometry: Geometry, counts: tuple[int, int], tokens_per_side: int) -> None:
    assert (geometry.fine_count, geometry.coarse_count) == counts
    assert geometry.tokens_per_side == tokens_per_side


@pytest.mark.parametrize(
    ("grid", "window", "corners"),
    [
        (REFERENCE.fine, 0, (0, 0, 32, 32)),
        (REFERENCE.fine, 1, (32, 0, 64, 32)),  # row by row
        (REFERENCE.fine, 7, (0, 32, 32, 64)),
        (REFERENCE.fine, 48, (192, 192, 224, 224)),
        (REFERENCE.coarse, 0, (0, 0, 80, 80)),
        (REFERENCE.coarse, 1, (48, 0, 128, 80)),
        (REFERENCE.coarse, 15, (144, 144, 224, 224)),
    ],
)
def test_corners(grid: WindowGrid, window: int, corners: tuple[int, ...]) -> None:
    assert tuple(REFERENCE.windows_xyxy(grid)[window]) == corners


@ALL
def test_tokens_are_those_whose_pixels_lie_in_the_window(geometry: Geometry) -> None:
    for grid in grids(geometry):
        indices = geometry.token_indices(grid)
        assert indices.dtype == np.int64
        assert indices.shape == (geometry.window_count(grid), (grid.size // geometry.patch_size) ** 2)
        for row, (x0, y0, x1, y1) in zip(indices, geometry.windows_xyxy(grid), strict=True):
            inside = [
                token
                for token in range(geometry.tokens_per_side**2)
                if y0 <= token // geometry.tokens_per_side * geometry.patch_size < y1
                and x0 <= token % geometry.tokens_per_side * geometry.patch_size < x1
            ]
            assert row.tolist() == inside


@ALL
def test_spread_is_the_mean_over_the_windows_of_each_pixel(geometry: Geometry) -> None:
    rng = np.random.default_rng(0)
    for grid in grids(geometry):
        scores = rng.random(geometry.window_count(grid), np.float32)
        got = geometry.spread(grid, scores)
        assert got.dtype == np.float32
        np.testing.assert_allclose(to_pixels(geometry, got), per_pixel_average(geometry, grid, scores), atol=1e-6)


@pytest.mark.parametrize("fine_weight", [0.0, 0.3, 0.5, 1.0])
@ALL
def test_heat_map_is_the_weighted_mean_of_both(geometry: Geometry, fine_weight: float) -> None:
    rng = np.random.default_rng(1)
    fine, coarse = (rng.random(n, np.float32) for n in (geometry.fine_count, geometry.coarse_count))
    got = geometry.heat_map(fine, coarse, fine_weight)
    expected = fine_weight * per_pixel_average(geometry, geometry.fine, fine)
    expected += (1 - fine_weight) * per_pixel_average(geometry, geometry.coarse, coarse)
    assert got.dtype == np.float32
    np.testing.assert_allclose(to_pixels(geometry, got), expected, atol=1e-6)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_equal_scores_give_a_flat_map(score: float, fine_weight: float) -> None:
    fine, coarse = np.full(49, score, np.float32), np.full(16, score, np.float32)
    np.testing.assert_allclose(REFERENCE.heat_map(fine, coarse, fine_weight), score, atol=1e-6)


def test_one_hot_window_heats_its_own_tokens_only() -> None:
    scores = np.zeros(49, np.float32)
    scores[10] = 1
    heat = REFERENCE.spread(REFERENCE.fine, scores)
    assert sorted(np.flatnonzero(heat)) == REFERENCE.token_indices(REFERENCE.fine)[10].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 0}, "image size 224 is not a multiple of the encoder's patch size 0"),
        ({"image_size": 0}, "image size 0 is not a multiple"),
        ({"image_size": 225}, "image size 225 is not a multiple of the encoder's patch size 16"),
        ({"patch_size": 14}, "fine window size 32 is not a multiple of the encoder's patch size 14"),
        ({"fine": WindowGrid(size=24, stride=32)}, "fine window size 24 is not a multiple"),
        ({"fine": WindowGrid(size=32, stride=8)}, "fine window stride 8 is not a multiple"),
        ({"coarse": WindowGrid(size=80, stride=0)}, "coarse window stride 0 is not a multiple"),
        ({"coarse": WindowGrid(size=-80, stride=48)}, "coarse window size -80 is not a multiple"),
        ({"fine": WindowGrid(size=240, stride=16)}, "fine windows of 240 px every 16 px do not cover 224 px"),
        ({"coarse": WindowGrid(size=80, stride=64)}, "coarse windows of 80 px every 64 px do not cover 224 px exactly"),
        ({"fine": WindowGrid(size=16, stride=208)}, "fine windows of 16 px every 208 px do not cover 224 px exactly"),
    ],
)
def test_refuses_windows_that_are_not_made_of_tokens(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(**change)
