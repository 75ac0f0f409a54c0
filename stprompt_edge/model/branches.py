"""The two branches (eq. 5): binary classifier, and alignment of frames with label prompts.

Suffixes: B batch, T sampled frames, D width of the embedding, C abnormal classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stprompt_edge.model.temporal import feed_forward


class Classifier(nn.Module):
    """C-branch: FFN with a residual, then one linear unit.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = feed_forward(width)
        self.linear = nn.Linear(width, 1)

    def forward(self, x_ta: Tensor) -> Tensor:
        """x_ta [..., D] -> anomaly logit [...]."""
        return self.linear(self.ffn(x_ta) + x_ta).squeeze(-1)


def align(x_clip: Tensor, x_ta: Tensor, label_prompts: Tensor) -> Tensor:
    """A-branch: M, cosine of x_clip + x_ta with each label prompt.

    Args:
        x_clip, x_ta: [..., D].
        label_prompts: [1+C, D], any length.

    Returns:
        [..., 1+C] in -1..1, column 0 is `normal`.
    """
    return F.normalize(x_clip + x_ta, dim=-1) @ F.normalize(label_prompts, dim=-1).T


def anomaly_score(anomaly_logit: Tensor, similarity: Tensor, tau: float, branch: str) -> Tensor:
    """Score of each sampled frame, 0..1.

    Args:
        anomaly_logit: [...] of the C-branch.
        similarity: [..., 1+C] of the A-branch.
        tau: temperature of the softmax over classes.
        branch: `a` for 1 - softmax(M / tau)[normal] (the paper's choice), `c` for the classifier, `mean` of both.
    """
    from_alignment = 1 - (similarity / tau).softmax(dim=-1)[..., 0]
    from_classifier = torch.sigmoid(anomaly_logit)
    return {"a": from_alignment, "c": from_classifier, "mean": (from_alignment + from_classifier) / 2}[branch]
