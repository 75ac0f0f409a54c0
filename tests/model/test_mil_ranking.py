"""The ranking network: equal to a literal NumPy reading, padding and the order of windows do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stprompt_edge.model.mil_ranking import HIDDEN, MilRanking, RankingHeads, top_windows_mean

WIDTH = 8


@pytest.fixture(scope="module")
def model() -> MilRanking:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MilRanking(WIDTH, sigma=2.0).eval().requires_grad_(False)


def literal_heads(model: MilRanking, windows_ND: np.ndarray) -> tuple[float, list[float]]:
    """Anomaly logit and window logits of one frame, window by window."""
    weights = {name: tensor.numpy().astype(np.float64) for name, tensor in model.heads.state_dict().items()}
    logits = []
    for window in windows_ND.astype(np.float64):
        unit = (window - window.mean()) / math.sqrt(window.var() + 1e-5)
        hidden = np.maximum(weights["first.weight"] @ (unit * weights["norm.weight"]) + weights["first.bias"], 0)
        second = weights["second.weight"] @ hidden + weights["second.bias"]
        logits.append(float(weights["last.weight"][0] @ second + weights["last.bias"][0]))
    top = sorted(logits, reverse=True)[: len(logits) // 16 + 1]
    return sum(top) / len(top), logits


@pytest.mark.parametrize(("frames", "windows"), [(1, 1), (1, 49), (2, 15), (3, 16)])
def test_it_equals_a_literal_reading(model: MilRanking, frames: int, windows: int) -> None:
    x = np.random.default_rng(windows).normal(size=(frames, windows, WIDTH)).astype(np.float32)
    literal = [literal_heads(model, frame) for frame in x]
    expected = []
    for i in range(frames):
        weights = [math.exp(-abs(i - j) / 2.0) for j in range(frames)]
        expected.append(sum(w * logit for w, (logit, _) in zip(weights, literal, strict=True)) / sum(weights))
    got = model(torch.from_numpy(x))
    np.testing.assert_allclose(got.anomaly_logit, expected, atol=1e-5)
    np.testing.assert_allclose(got.window_logits, [logits for _, logits in literal], atol=1e-5)


@pytest.mark.parametrize(
    ("logits", "expected"), [([3.0], 3.0), ([1.0, 5.0], 5.0), (list(range(15)), 14.0), (list(range(49)), 46.5)]
)
def test_top_windows_mean_by_hand(logits: list[float], expected: float) -> None:
    assert top_windows_mean(torch.tensor(logits, dtype=torch.float32)).item() == expected


def test_the_order_of_windows_does_not_matter(model: MilRanking) -> None:
    x = torch.randn(4, 49, WIDTH, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(x[:, order]).anomaly_logit, model(x).anomaly_logit)
    torch.testing.assert_close(model(x[:, order]).window_logits, model(x).window_logits[:, order])


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_the_length_of_embeddings_hardly_matters(model: MilRanking, factor: float) -> None:
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0)) * 10
    torch.testing.assert_close(model(x * factor).anomaly_logit, model(x).anomaly_logit, atol=2e-3, rtol=0)


def test_layers_are_the_papers() -> None:
    heads = RankingHeads(WIDTH)
    shapes = [tuple(layer.weight.shape) for layer in (heads.first, heads.second, heads.last)]
    assert shapes == [(512, WIDTH), (32, 512), (1, 32)]
    assert (*HIDDEN, 1) == (512, 32, 1)
    assert heads.dropout.p == 0.6


def test_dropout_is_for_training_only(model: MilRanking) -> None:
    x = torch.ones(1, 5, WIDTH)
    assert torch.equal(model(x).anomaly_logit, model(x).anomaly_logit)
    heads = RankingHeads(WIDTH).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(heads(x).anomaly_logit, heads(x).anomaly_logit)
