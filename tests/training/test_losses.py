import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from stprompt_edge.training.losses import (  # noqa: E402
    alignment_loss,
    classification_loss,
    contrastive_loss,
    ranking_loss,
    smoothness_loss,
    sparsity_loss,
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


@pytest.mark.parametrize(
    ("scores", "abnormal", "expected"),
    [
        ([1.0, 0.0], [True, False], 0.0),  # a margin of one
        ([0.0, 1.0], [True, False], 2.0),
        ([0.5, 0.5], [False, True], 1.0),
        ([0.75, 0.25, 0.5], [True, False, False], (0.5 + 0.75) / 2),
        ([0.75, 0.5, 0.25, 0.0], [True, True, False, False], (0.5 + 0.25 + 0.75 + 0.5) / 4),
    ],
)
def test_ranking_loss_by_hand(scores: list[float], abnormal: list[bool], expected: float) -> None:
    assert ranking_loss(torch.tensor(scores), torch.tensor(abnormal)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "smoothness", "sparsity"),
    [
        ([[0.5]], 0.0, 0.5),  # one segment
        ([[0.5, 0.5, 0.5]], 0.0, 1.5),
        ([[0.0, 1.0, 0.0]], 2.0, 1.0),
        ([[0.0, 0.5], [1.0, 0.0]], (0.25 + 1.0) / 2, (0.5 + 1.0) / 2),
    ],
)
def test_smoothness_and_sparsity_by_hand(scores: list[list[float]], smoothness: float, sparsity: float) -> None:
    assert smoothness_loss(torch.tensor(scores)).item() == pytest.approx(smoothness)
    assert sparsity_loss(torch.tensor(scores)).item() == pytest.approx(sparsity)


def test_ranking_losses_equal_literal_loops() -> None:
    rng = np.random.default_rng(0)
    scores, abnormal = rng.random((7, 9)), np.array([True, False, True, True, False, False, True])
    bags = scores.max(axis=1)
    pairs = [max(0, 1 - a + n) for a in bags[abnormal] for n in bags[~abnormal]]
    steps = [sum((row[i] - row[i + 1]) ** 2 for i in range(8)) for row in scores]
    got = ranking_loss(torch.from_numpy(bags), torch.from_numpy(abnormal))
    assert got.item() == pytest.approx(sum(pairs) / len(pairs))
    assert smoothness_loss(torch.from_numpy(scores)).item() == pytest.approx(sum(steps) / 7)
    assert sparsity_loss(torch.from_numpy(scores)).item() == pytest.approx(sum(map(sum, scores)) / 7)


def test_gradients_of_the_ranking_losses() -> None:
    scores = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    abnormal = torch.tensor([True, False, True, False])
    assert torch.autograd.gradcheck(lambda x: ranking_loss(x.max(dim=1).values, abnormal), scores)
    assert torch.autograd.gradcheck(smoothness_loss, scores)
    assert torch.autograd.gradcheck(sparsity_loss, scores)
    ranking_loss(scores.max(dim=1).values, abnormal).backward()
    assert scores.grad is not None
    assert (scores.grad[abnormal] <= 0).all()  # abnormal scores are pushed up, normal ones down
    assert (scores.grad[~abnormal] >= 0).all()
    assert ((scores.grad != 0).sum(dim=1) == 1).all()  # only the top instance of each bag
