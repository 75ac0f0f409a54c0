"""Scorers: STPrompt's three scores against torch, zero-shot against a literal reading of eq. 11."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stprompt_edge.bundle import LocalizationSection
from stprompt_edge.runtime.backends.base import HeadsOutput
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.methods import open_method
from stprompt_edge.runtime.methods.base import Scorer, sigmoid
from stprompt_edge.runtime.methods.mil_ranking import LearnedLocalizer, MilRankingScorer
from stprompt_edge.runtime.methods.phrases import PhraseLocalizer
from stprompt_edge.runtime.methods.stprompt import STPromptScorer
from stprompt_edge.runtime.methods.zero_shot import ZeroShotScorer
from stprompt_edge.runtime.motion import softmax
from tests.runtime.tiny import VOCABULARY, ranking_bundle, tiny_bundle


class FixedHeads(FakeBackend):
    """Says the same of every frame."""

    logit: float = 0.0
    similarity: tuple[float, ...] = (0.0, 0.0, 0.0)

    def heads(self, context: np.ndarray, clip: np.ndarray) -> HeadsOutput:
        assert context.shape == clip.shape == (1, 16)
        return HeadsOutput(
            anomaly_logit=np.array([self.logit], np.float32), similarity=np.array([self.similarity], np.float32)
        )


def stprompt_score(branch: str, logit: float, similarity: tuple[float, ...], tau: float = 0.07) -> Scorer:
    bundle = tiny_bundle(score=branch, tau=tau)
    heads = FixedHeads(bundle)
    heads.logit, heads.similarity = logit, similarity
    return open_method(bundle, heads.heads).scorer


ZEROS = np.zeros(16, np.float32)


@pytest.mark.parametrize("branch", ["a", "c", "mean"])
@pytest.mark.parametrize(
    ("logit", "similarity"),
    [
        (0.0, (0.0, 0.0, 0.0)),
        (2.5, (0.3, 0.25, 0.1)),
        (-3.0, (0.1, 0.9, -0.4)),
        (1000.0, (1.0, -1.0, -1.0)),  # must not overflow
        (-1000.0, (-1.0, 1.0, 1.0)),
    ],
)
def test_stprompt_scores_equal_torch(branch: str, logit: float, similarity: tuple[float, ...]) -> None:
    torch = pytest.importorskip("torch")
    from stprompt_edge.model.branches import anomaly_score

    score = stprompt_score(branch, logit, similarity).score(ZEROS, ZEROS)
    expected = anomaly_score(torch.tensor(logit), torch.tensor(similarity), 0.07, branch)
    assert score.score == pytest.approx(float(expected), abs=1e-6)
    assert 0 <= score.score <= 1
    np.testing.assert_allclose(score.class_probabilities, (torch.tensor(similarity) / 0.07).softmax(-1), atol=1e-6)


def test_stprompt_features_are_x_clip_plus_x_as() -> None:
    bundle = tiny_bundle()
    scorer = STPromptScorer(bundle, FakeBackend(bundle).heads)
    x_clip, selected = np.full(16, 10, np.float32), np.stack([np.zeros(16), np.ones(16)]).astype(np.float32)
    assert scorer.width == 16
    assert scorer.features(x_clip, selected, np.array([0.25, 0.75], np.float32)).tolist() == [10.75] * 16


def test_each_method_has_a_scorer_and_a_localizer() -> None:
    for bundle, scorer, localizer in [
        (tiny_bundle(), STPromptScorer, PhraseLocalizer),
        (tiny_bundle(name="zero-shot"), ZeroShotScorer, PhraseLocalizer),
        (ranking_bundle(), MilRankingScorer, LearnedLocalizer),
    ]:
        method = open_method(bundle, FakeBackend(bundle).heads)
        assert (type(method.scorer), type(method.localizer)) == (scorer, localizer)
        assert method.localizer.uses_coarse == (localizer is PhraseLocalizer)


@pytest.mark.parametrize("windows", [1, 12])
def test_zero_shot_features_equal_a_literal_eq_11(windows: int) -> None:
    bundle = tiny_bundle(name="zero-shot")
    rng = np.random.default_rng(windows)
    x_clip = rng.normal(size=16).astype(np.float32)
    selected = rng.normal(size=(windows, 16)).astype(np.float32)
    attention = rng.dirichlet(np.ones(windows)).astype(np.float32)

    def class_probabilities(embedding: np.ndarray) -> list[float]:
        phrases = [*bundle.text.normal_phrases, *bundle.text.abnormal_phrases]
        rows = [0] * len(bundle.text.normal_phrases) + list(VOCABULARY.abnormal_phrase_classes)
        powers = [math.exp(float(embedding @ p) / float(np.linalg.norm(embedding)) / 0.5) for p in phrases]
        return [sum(p for p, r in zip(powers, rows, strict=True) if r == row) / sum(powers) for row in range(3)]

    expected = [
        0.5 * (frame + sum(a * class_probabilities(w)[row] for a, w in zip(attention, selected, strict=True)))
        for row, frame in enumerate(class_probabilities(x_clip))
    ]
    scorer = ZeroShotScorer(bundle)
    features = scorer.features(x_clip, selected, attention)
    assert features.shape == (scorer.width,) == (3,)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert scorer.score(features, x_clip).score == pytest.approx(1 - expected[0], abs=1e-5)


def test_a_zero_shot_score_stays_inside_0_to_1_when_all_is_certainly_normal() -> None:
    bundle = tiny_bundle(name="zero-shot", localization=LocalizationSection(tau=0.02))
    scorer = ZeroShotScorer(bundle)
    rng = np.random.default_rng(0)
    for step in range(4000):  # about one in 300 of these would be -1e-7 without a bound
        windows = bundle.text.normal_phrases[0] + rng.normal(size=(13, 16)).astype(np.float32) * np.float32(0.03)
        attention = softmax(rng.random(12).astype(np.float32) * 3)
        score = scorer.score(scorer.features(windows[0], windows[1:], attention), windows[0]).score
        assert 0 <= score <= 1, f"step {step}"


@pytest.mark.parametrize("logit", [-1000.0, -2.0, 0.0, 3.0, 1000.0])
def test_mil_ranking_shares_its_probability_out_among_the_abnormal_classes(logit: float) -> None:
    bundle = ranking_bundle()
    scorer = MilRankingScorer(bundle, FakeBackend(bundle).heads)
    fire = bundle.text.label_prompts[2]
    score = scorer.score(np.array([logit], np.float32), 7 * fire)
    assert score.score == sigmoid(logit)
    assert score.class_probabilities.dtype == np.float32
    assert score.class_probabilities.shape == (3,)
    assert score.class_probabilities.sum() == pytest.approx(1)
    assert score.class_probabilities[0] == pytest.approx(1 - score.score)
    powers = [math.exp(float(prompt @ fire) / 0.5) for prompt in bundle.text.label_prompts[1:]]
    assert score.class_probabilities[2] == pytest.approx(score.score * powers[1] / sum(powers))


def test_mil_ranking_features_are_the_heads_logit_in_any_order_of_windows() -> None:
    bundle = ranking_bundle()
    scorer = open_method(bundle, FakeBackend(bundle).heads).scorer
    windows = np.random.default_rng(0).normal(size=(49, 16)).astype(np.float32)
    attention = np.full(49, 1 / 49, np.float32)
    features = scorer.features(ZEROS, windows, attention)
    assert features.shape == (scorer.width,) == (1,)
    assert features == pytest.approx(windows.mean(axis=1).max())
    assert scorer.features(ZEROS, windows[::-1].copy(), attention) == pytest.approx(features)


@pytest.mark.parametrize(
    ("logit", "expected"), [(0.0, 0.5), (1e9, 1.0), (-1e9, 0.0), (math.inf, 1.0), (-math.inf, 0.0)]
)
def test_sigmoid_of_any_number(logit: float, expected: float) -> None:
    assert sigmoid(logit) == pytest.approx(expected, abs=1e-12)
