"""Eq. 4 against its literal reading in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from stprompt_edge.model.temporal import QuickGELU, TemporalAdapter, distance_kernel, feed_forward


def literal_layer_norm(x: NDArray, layer: nn.LayerNorm) -> NDArray:
    """Over the last axis, with the biased variance."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    normed = (x - mean) / np.sqrt(variance + layer.eps)
    return normed * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def literal_feed_forward(x: NDArray, ffn: nn.Sequential) -> NDArray:
    """Linear, x * sigmoid(1.702 x), linear."""
    weights = {name: tensor.detach().numpy() for name, tensor in ffn.named_parameters()}
    hidden = x @ weights["expand.weight"].T + weights["expand.bias"]
    hidden = hidden / (1 + np.exp(-1.702 * hidden))
    return hidden @ weights["project.weight"].T + weights["project.bias"]


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random, so that no weight of one and no bias of zero hides an error; float64."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    return module.double().requires_grad_(False)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_distance_kernel(length: int, sigma: float) -> None:
    expected = np.zeros((length, length))
    for i in range(length):
        row = [math.exp(-abs(i - j) / sigma) for j in range(length)]
        expected[i] = np.array(row) / sum(row)
    np.testing.assert_allclose(distance_kernel(length, sigma), expected, atol=1e-6)


def test_the_kernel_of_a_long_video_stays_normal() -> None:
    kernel = distance_kernel(2000, 0.1)
    assert torch.isfinite(kernel).all()
    torch.testing.assert_close(kernel.sum(dim=1), torch.ones(2000))


@pytest.mark.parametrize("shape", [(1, 8), (5, 8), (2, 3, 8), (0, 8)])
def test_adapter(shape: tuple[int, ...]) -> None:
    adapter = randomized(TemporalAdapter(8))
    context = np.random.default_rng(0).standard_normal(shape)
    x_tm = literal_layer_norm(context, adapter.ln_1)
    expected = literal_layer_norm(literal_feed_forward(x_tm, adapter.ffn) + x_tm, adapter.ln_2)
    np.testing.assert_allclose(adapter(torch.from_numpy(context)), expected, atol=1e-9)


def test_quick_gelu_is_clips_own() -> None:
    open_clip = pytest.importorskip("open_clip")
    x = torch.linspace(-9, 9, 99)
    torch.testing.assert_close(QuickGELU()(x), open_clip.transformer.QuickGELU()(x))


def test_the_hidden_layer_is_four_times_as_wide() -> None:
    ffn = feed_forward(6)
    assert [tuple(p.shape) for p in ffn.parameters()] == [(24, 6), (24,), (6, 24), (6,)]
