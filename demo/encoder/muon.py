"""Muon (Jordan et al. 2024): momentum whose singular values are all made 1, for the matrices of a transformer.

PyTorch's own works in bfloat16, which CPUs without such instructions emulate at a tenth of the speed; this one is the
same in float32. Trained from nothing, the demo encoder needs half as many steps with it as with AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.775, 2.0315)  # of the Newton-Schulz iteration; steepest at 0, ends near 1 (Jordan et al. 2024)
ITERATIONS = 5
AS_ADAMW = (
    0.2  # makes an update's root mean square that of AdamW, so that both take one learning rate (Liu et al. 2025)
)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized; decoupled weight decay.

    Args:
        params: matrices.
        lr: learning rate, on AdamW's scale.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is taken
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in (p for p in group["params"] if p.grad is not None):
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonalize(matrix.grad.lerp(momentum, MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * AS_ADAMW * math.sqrt(max(matrix.shape)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T, by Newton-Schulz iterations: [M, N] -> [M, N]."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
