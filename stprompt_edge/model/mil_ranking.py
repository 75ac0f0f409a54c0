"""The ranking method: every fine window of every sampled frame is an instance, judged alone by one small network.

After Sultani et al. (CVPR 2018, arXiv 1801.04264), with windows of frames in place of clips: three linear layers of
512, 32 and 1 units, ReLU behind the first, a sigmoid behind the last, dropout 0.6. A frame's logit is the mean of its
top windows', by the rule that eq. 6 of STPrompt has for frames, and is smoothed in time by the adapter's kernel.

Suffixes: B batch, T sampled frames, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stprompt_edge.model.net import Net
from stprompt_edge.model.temporal import smooth

HIDDEN = (512, 32)  # the paper's
DROPOUT = 0.6  # the paper's
TOP_DIVISOR = 16  # top windows = N // 16 + 1


class RankingLogits(NamedTuple):
    """What the network says of each frame and window; probabilities are their sigmoids."""

    anomaly_logit: Tensor  # [...]
    window_logits: Tensor  # [..., N]


class RankingHeads(nn.Module):
    """One frame at a time; what `heads.onnx` holds.

    The layer norm in front stands for the paper's unit length of features: that times sqrt(D), with learned scales, so
    that one learning rate serves encoders of any width and length of embeddings.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, HIDDEN[0])
        self.second = nn.Linear(HIDDEN[0], HIDDEN[1])
        self.last = nn.Linear(HIDDEN[1], 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, windows: Tensor) -> RankingLogits:
        """Embeddings of all fine windows [..., N, D] -> anomaly_logit [...] and window_logits [..., N]."""
        x = self.dropout(torch.relu(self.first(self.norm(windows))))  # [..., N, 512]
        window_logits = self.last(self.dropout(self.second(x))).squeeze(-1)
        return RankingLogits(top_windows_mean(window_logits), window_logits)


class MilRanking(Net):
    """The whole trainable model on whole videos.

    Args:
        width: D.
        sigma: width of the kernel in sampled frames.
    """

    def __init__(self, width: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.heads = RankingHeads(width)

    def forward(self, windows: Tensor) -> RankingLogits:
        """Windows [..., T, N, D] -> anomaly_logit [..., T], smoothed in time, and window_logits [..., T, N], not."""
        logits = self.heads(windows)
        smoothed = smooth(logits.anomaly_logit[..., None], self.sigma).squeeze(-1)
        return RankingLogits(smoothed, logits.window_logits)


def top_windows_mean(window_logits: Tensor) -> Tensor:
    """Mean of the N // 16 + 1 largest: [..., N] -> [...]."""
    return window_logits.topk(window_logits.shape[-1] // TOP_DIVISOR + 1, dim=-1).values.mean(dim=-1)
