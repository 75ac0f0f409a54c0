import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from stprompt_edge.training.losses import (  # noqa: E402
    alignment_loss,
    classification_loss,
    contrastive_loss,
    topk_mean,
    total_loss,
)


@pytest.mark.parametrize(
    ("values", "length", "expected"),
    [
        ([[5.0]], 1, 5.0),  # one frame, k = 1
        ([[1.0, 3.0, 2.0]], 3, 3.0),  # k = 1
        ([[1.0, 3.0, 9.0]], 2, 3.0),  # padding is not looked at
        ([list(range(16))], 16, 14.5),  # k = 2: the mean of 15 and 14
        ([list(range(31))], 31, 29.5),
        ([list(range(32))], 32, 30.0),  # k = 3
    ],
)
def test_topk_mean_by_hand(values: list[list[float]], length: int, expected: float) -> None:
    got = topk_mean(torch.tensor(values, dtype=torch.float32), torch.tensor([length]))
    assert got.tolist() == pytest.approx([expected])


def test_topk_mean_equals_a_literal_loop() -> None:
    rng = np.random.default_rng(0)
    values, lengths = rng.normal(size=(5, 70)).astype(np.float32), np.array([1, 16, 17, 64, 70])
    literal = [np.sort(row[:n])[::-1][: n // 16 + 1].mean() for row, n in zip(values, lengths, strict=True)]
    assert topk_mean(torch.from_numpy(values), torch.from_numpy(lengths)).numpy() == pytest.approx(literal, abs=1e-6)


def test_classification_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(1 / 3), -9.0]])  # top probabilities 3/4 and 1/4
    loss = classification_loss(logits, torch.tensor([2, 2]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(-math.log(0.75))


def test_alignment_loss_by_hand() -> None:
    similarity = torch.tensor([[[0.1, 0.3], [0.2, 0.1]]])  # best of each class: 0.2 and 0.3
    loss = alignment_loss(similarity, torch.tensor([2]), torch.tensor([1]), tau=0.1)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.0)))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], 0.0),  # at right angles
        ([[1.0, 0.0], [-3.0, 0.0]], 0.0),  # opposite is far enough
        ([[1.0, 0.0], [5.0, 0.0]], 1.0),
        ([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 0.5),
    ],
)
def test_contrastive_loss_by_hand(prompts: list[list[float]], expected: float) -> None:
    assert contrastive_loss(torch.tensor(prompts)).item() == pytest.approx(expected)


def test_total_loss_by_hand() -> None:
    assert total_loss(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0), 0.9, 2.0).item() == pytest.approx(8.8)
