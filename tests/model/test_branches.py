"""Eq. 5 and the score against their literal reading in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stprompt_edge.model.branches import Classifier, align, anomaly_score
from tests.model.test_temporal import literal_feed_forward, randomized

SHAPES = pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)], ids=str)


@SHAPES
def test_classifier(shape: tuple[int, ...]) -> None:
    classifier = randomized(Classifier(8))
    x_ta = np.random.default_rng(0).standard_normal((*shape, 8))
    hidden = literal_feed_forward(x_ta, classifier.ffn) + x_ta
    expected = hidden @ classifier.linear.weight.numpy()[0] + classifier.linear.bias.numpy()[0]
    got = classifier(torch.from_numpy(x_ta))
    assert got.shape == shape
    np.testing.assert_allclose(got, expected, atol=1e-9)


@SHAPES
def test_align_is_the_cosine_with_each_prompt(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x_clip, x_ta = rng.standard_normal((2, *shape, 8))
    prompts = rng.standard_normal((3, 8)) * [[1], [0.1], [10]]  # any length
    got = align(*(torch.from_numpy(x) for x in (x_clip, x_ta, prompts))).numpy()
    assert got.shape == (*shape, 3)
    for index in np.ndindex(shape):
        x = x_clip[index] + x_ta[index]
        for c, prompt in enumerate(prompts):
            expected = x @ prompt / np.sqrt(x @ x) / np.sqrt(prompt @ prompt)
            assert got[(*index, c)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("branch", ["a", "c", "mean"])
@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0])
@SHAPES
def test_score(shape: tuple[int, ...], tau: float, branch: str) -> None:
    rng = np.random.default_rng(2)
    logit, similarity = rng.standard_normal(shape), rng.uniform(-1, 1, (*shape, 4))
    exponentials = np.exp(similarity / tau)
    alignment = 1 - exponentials[..., 0] / exponentials.sum(axis=-1)
    classifier = 1 / (1 + np.exp(-logit))
    expected = {"a": alignment, "c": classifier, "mean": (alignment + classifier) / 2}[branch]
    got = anomaly_score(torch.tensor(logit), torch.tensor(similarity), tau, branch)
    assert got.shape == shape
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_a_frame_like_the_normal_prompt_scores_low() -> None:
    prompts = torch.eye(3)
    similarity = align(prompts, torch.zeros(3, 3), prompts)
    scores = anomaly_score(torch.zeros(3), similarity, 0.07, "a")
    assert scores[0] < 0.001
    assert scores[1:].min() > 0.999


def test_an_unknown_branch_is_a_bug() -> None:
    with pytest.raises(KeyError, match="b"):
        anomaly_score(torch.zeros(1), torch.zeros(1, 2), 1.0, "b")
