"""The temporal CLIP adapter (eq. 4) on whole videos.

Suffixes: B batch, T sampled frames, D width of the embedding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

MLP_RATIO = 4  # hidden over outer width of a feed-forward network, as in CLIP's own blocks


class QuickGELU(nn.Module):
    """CLIP's activation: x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


def feed_forward(width: int) -> nn.Sequential:
    """Two linear layers with QuickGELU between: [..., D] -> [..., D]."""
    return nn.Sequential(
        OrderedDict(
            expand=nn.Linear(width, MLP_RATIO * width),
            activation=QuickGELU(),
            project=nn.Linear(MLP_RATIO * width, width),
        )
    )


def distance_kernel(length: int, sigma: float) -> Tensor:
    """A of eq. 4: softmax over j of -|i - j| / sigma. It does not depend on the data. [T, T] float32."""
    index = torch.arange(length, dtype=torch.float32)
    return (-(index[:, None] - index[None, :]).abs() / sigma).softmax(dim=-1)


def smooth(x: Tensor, sigma: float, lengths: Tensor | None = None) -> Tensor:
    """A x along time: [..., T, D] -> [..., T, D]; `lengths` [B] keeps padded frames out of the rows of a batch."""
    kernel_TT = distance_kernel(x.shape[-2], sigma).to(x)
    if lengths is not None:
        present_BT = torch.arange(kernel_TT.shape[1])[None] < lengths[:, None]
        kernel_TT = kernel_TT * present_BT[:, None, :]  # [B, T, T]
        kernel_TT = kernel_TT / kernel_TT.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    return kernel_TT @ x


class TemporalAdapter(nn.Module):
    """Eq. 4: x_tm = LN(A (x_clip + x_as)), x_ta = LN(FFN(x_tm) + x_tm).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.ffn = feed_forward(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, context: Tensor) -> Tensor:
        """A (x_clip + x_as) [..., D] -> x_ta [..., D]."""
        x_tm = self.ln_1(context)
        return self.ln_2(self.ffn(x_tm) + x_tm)
