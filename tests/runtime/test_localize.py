"""Localization: eq. 11 against slow literals, and boxes from every kind of heat map and frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.bundle import LocalizationSection
from stprompt_edge.runtime.backends.base import HeadsOutput
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.localize import (
    LearnedLocalizer,
    Localizer,
    find_boxes,
    make_localizer,
    phrase_probabilities,
    unit_length,
)

from .tiny import GEOMETRY, ranking_bundle, tiny_bundle

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


@pytest.mark.parametrize("tau", [0.01, 0.5])
def test_phrase_probabilities_equal_a_slow_literal(tau: float) -> None:
    text = tiny_bundle().text
    embeddings = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32) * 3
    normal, abnormal = phrase_probabilities(embeddings, text, tau)
    phrases = [*text.normal_phrases, *text.abnormal_phrases]
    for n, embedding in enumerate(embeddings):
        cosines = [float(embedding @ p) / math.sqrt(float(embedding @ embedding)) for p in phrases]
        powers = [math.exp((cosine - max(cosines)) / tau) for cosine in cosines]
        literal = [power / sum(powers) for power in powers]
        np.testing.assert_allclose([*normal[n], *abnormal[n]], literal, atol=1e-5)


def test_a_zero_embedding_is_equally_like_every_phrase() -> None:
    normal, abnormal = phrase_probabilities(np.zeros((1, 16), np.float32), tiny_bundle().text, 0.01)
    np.testing.assert_allclose(np.concatenate([normal, abnormal], axis=1), 1 / 7, atol=1e-6)
    assert not unit_length(np.zeros((1, 16), np.float32)).any()


@pytest.mark.parametrize("fine_weight", [0.0, 0.5, 1.0])
def test_the_heat_map_equals_a_slow_literal(fine_weight: float) -> None:
    bundle = tiny_bundle()
    settings = LocalizationSection(tau=0.5, fine_weight=fine_weight)
    rng = np.random.default_rng(1)
    fine, coarse = (rng.normal(size=(n, 16)).astype(np.float32) for n in (49, 16))
    found = Localizer(GEOMETRY, bundle.text, settings)(fine, coarse, (280, 280))

    literal = np.zeros((14, 14))
    for weight, grid, windows in [(fine_weight, GEOMETRY.fine, fine), (1 - fine_weight, GEOMETRY.coarse, coarse)]:
        scores = phrase_probabilities(windows, bundle.text, 0.5)[1].sum(axis=1)
        for y in range(14):
            for x in range(14):
                pixel_x, pixel_y = x * 2, y * 2
                over = [
                    score
                    for score, (x0, y0, x1, y1) in zip(scores, GEOMETRY.windows_xyxy(grid), strict=True)
                    if x0 <= pixel_x < x1 and y0 <= pixel_y < y1
                ]
                literal[y, x] += weight * sum(over) / len(over)
    assert found.heat_map.dtype == np.float32
    np.testing.assert_allclose(found.heat_map, literal, atol=1e-5)
    assert found.boxes == find_boxes(found.heat_map, (280, 280), settings.threshold)


class Hot(FakeBackend):
    """The ranking method's heads, sure of one window."""

    def heads(self, windows: np.ndarray) -> HeadsOutput:
        assert windows.shape == (1, 49, 16)
        logits = np.full((1, 49), -1000.0, np.float32)
        logits[0, 9] = 1000.0  # second row, third column
        return HeadsOutput(anomaly_logit=logits.max(axis=1), window_logits=logits)


def test_the_ranking_method_localizes_by_its_own_window_logits() -> None:
    bundle = ranking_bundle(localization=LocalizationSection(threshold=0.3))
    locate = make_localizer(bundle, Hot(bundle))
    assert isinstance(locate, LearnedLocalizer)
    assert not locate.uses_coarse
    found = locate(np.zeros((49, 16), np.float32), np.zeros((0, 16), np.float32), (140, 140))
    expected = np.zeros((14, 14), np.float32)
    expected[2:4, 4:6] = 1
    np.testing.assert_allclose(found.heat_map, expected, atol=1e-6)
    assert found.heat_map.dtype == np.float32
    (box,) = found.boxes
    assert (box.x0, box.y0, box.x1, box.y1) == (38, 18, 62, 42)  # 20 px, and to where the resized heat falls to 0.3
    assert box.probability == pytest.approx(1)


@pytest.mark.parametrize("name", ["stprompt", "zero-shot"])
def test_the_other_methods_localize_by_phrases(name: str) -> None:
    bundle = tiny_bundle(name=name)
    locate = make_localizer(bundle, FakeBackend(bundle))
    assert isinstance(locate, Localizer)
    assert locate.uses_coarse
