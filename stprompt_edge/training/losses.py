"""Training losses from video-level labels: STPrompt's (eq. 6-10), and those of the ranking method.

Suffixes: B videos, T sampled frames (padded), S segments, P classes with `normal` first, D width of the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TOPK_DIVISOR = 16  # k = T // 16 + 1, the paper's


def topk_mean(values_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """Eq. 6: mean of the k = T // 16 + 1 largest values of each video's own frames.

    Args:
        values_BT: [B, T] float; what lies behind a video's length is ignored.
        lengths_B: [B] int64, 1..T.

    Returns:
        [B] float.
    """
    padding = torch.arange(values_BT.shape[1])[None] >= lengths_B[:, None]
    ordered = values_BT.masked_fill(padding, -torch.inf).sort(dim=1, descending=True).values
    counts = lengths_B // TOPK_DIVISOR + 1
    chosen = torch.arange(values_BT.shape[1])[None] < counts[:, None]
    return ordered.masked_fill(~chosen, 0).sum(dim=1) / counts


def classification_loss(anomaly_logit_BT: Tensor, lengths_B: Tensor, abnormal_B: Tensor) -> Tensor:
    """Eq. 7, C-branch: binary cross-entropy of the top-k mean probability with the video's label.

    Args:
        anomaly_logit_BT: [B, T].
        lengths_B: [B].
        abnormal_B: [B] float, 1 for an abnormal video.
    """
    probability_B = topk_mean(anomaly_logit_BT.sigmoid(), lengths_B)
    if probability_B.isnan().any():
        return probability_B.sum()  # a training that has gone wrong is told so by its caller; torch's loss would raise
    return F.binary_cross_entropy(probability_B, abnormal_B)


def alignment_loss(similarity_BTP: Tensor, lengths_B: Tensor, labels_B: Tensor, tau: float) -> Tensor:
    """Eq. 8, A-branch, MIL-Align: cross-entropy over classes of each class's top-k mean similarity at temperature tau.

    Args:
        similarity_BTP: [B, T, P] cosines.
        lengths_B: [B].
        labels_B: [B] int64, row of the video's class; 0 is `normal`.
        tau: temperature.
    """
    by_class = torch.stack([topk_mean(column, lengths_B) for column in similarity_BTP.unbind(dim=2)], dim=1)  # [B, P]
    return F.cross_entropy(by_class / tau, labels_B)


def contrastive_loss(label_prompts_PD: Tensor) -> Tensor:
    """Eq. 9: pushes the abnormal label prompts away from `normal`: mean positive cosine with row 0."""
    unit = F.normalize(label_prompts_PD, dim=-1)
    return (unit[1:] @ unit[0]).clamp(min=0).mean()


def total_loss(classification: Tensor, alignment: Tensor, contrastive: Tensor, alpha: float, beta: float) -> Tensor:
    """Eq. 10: classification + alpha * alignment + beta * contrastive."""
    return classification + alpha * alignment + beta * contrastive


def ranking_loss(bag_scores_B: Tensor, abnormal_B: Tensor) -> Tensor:
    """Sultani et al., hinge ranking: max(0, 1 - abnormal + normal), mean over all pairs of the batch.

    The paper pairs videos as they come; all pairs have the same expectation and less noise.

    Args:
        bag_scores_B: [B] score of each video, 0..1.
        abnormal_B: [B] bool; both kinds must be there.
    """
    margins = 1 - bag_scores_B[abnormal_B][:, None] + bag_scores_B[~abnormal_B][None]  # [abnormal, normal]
    return margins.clamp(min=0).mean()


def smoothness_loss(scores_BS: Tensor) -> Tensor:
    """Sultani et al., temporal smoothness: squared steps from segment to segment, summed; mean over videos [B, S]."""
    return (scores_BS[:, 1:] - scores_BS[:, :-1]).square().sum(dim=1).mean()


def sparsity_loss(scores_BS: Tensor) -> Tensor:
    """Sultani et al., sparsity: scores of the segments, summed; mean over videos [B, S]."""
    return scores_BS.sum(dim=1).mean()
