"""Localization: eq. 11 against slow literals, and the window logits of the ranking method."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stprompt_edge.bundle import LocalizationSection
from stprompt_edge.runtime.backends.base import HeadsOutput
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.boxes import find_boxes
from stprompt_edge.runtime.methods.mil_ranking import LearnedLocalizer
from stprompt_edge.runtime.methods.phrases import PhraseLocalizer, phrase_probabilities, unit_length
from tests.runtime.tiny import GEOMETRY, ranking_bundle, tiny_bundle


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
    bundle = tiny_bundle(localization=LocalizationSection(tau=0.5, fine_weight=fine_weight))
    rng = np.random.default_rng(1)
    fine, coarse = (rng.normal(size=(n, 16)).astype(np.float32) for n in (49, 16))
    found = PhraseLocalizer(bundle)(fine, coarse)

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
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, literal, atol=1e-5)


class Hot(FakeBackend):
    """The ranking method's heads, sure of one window."""

    def heads(self, windows: np.ndarray) -> HeadsOutput:
        assert windows.shape == (1, 49, 16)
        logits = np.full((1, 49), -1000.0, np.float32)
        logits[0, 9] = 1000.0  # second row, third column
        return HeadsOutput(anomaly_logit=logits.max(axis=1), window_logits=logits)


def test_the_ranking_method_localizes_by_its_own_window_logits() -> None:
    bundle = ranking_bundle()
    locate = LearnedLocalizer(bundle, Hot(bundle).heads)
    found = locate(np.zeros((49, 16), np.float32), np.zeros((0, 16), np.float32))
    expected = np.zeros((14, 14), np.float32)
    expected[2:4, 4:6] = 1
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    (box,) = find_boxes(found, (140, 140), 0.3)
    assert (box.x0, box.y0, box.x1, box.y1) == (38, 18, 62, 42)  # 20 px, and to where the resized heat falls to 0.3
    assert box.probability == pytest.approx(1)
