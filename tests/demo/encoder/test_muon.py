import pytest
import torch

from demo.encoder.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3), (1, 5)])
def test_singular_values_end_near_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    got = u.T @ orthogonalize(matrix) @ vt.T
    assert torch.diagonal(got) == pytest.approx(torch.ones(min(shape)), abs=0.35)
    torch.testing.assert_close(got - torch.diag(torch.diagonal(got)), torch.zeros_like(got), atol=1e-5, rtol=0)


def test_steps_are_those_of_pytorchs_muon_within_its_bfloat16():
    start = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = Muon([ours], lr=0.01, weight_decay=0.05)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=0)


def test_a_matrix_without_a_gradient_stays():
    matrix = torch.nn.Parameter(torch.ones(2, 2))
    Muon([matrix], lr=1.0, weight_decay=1.0).step()
    assert torch.equal(matrix, torch.ones(2, 2))
