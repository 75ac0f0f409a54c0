"""STPrompt with parts left out or replaced, as the paper's Tables 4, 5 and 6 do it; the package stays as it is.

Suffixes: B videos, T sampled frames, N fine windows (49), K selected windows (12), D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.features.records import VideoFeatures
from stprompt_edge.model.aggregation import aggregate, feature_motion, select_windows
from stprompt_edge.model.branches import align
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.stprompt import Logits, STPrompt
from stprompt_edge.model.temporal import smooth
from stprompt_edge.training.fit import Fit, seeded
from stprompt_edge.training.methods import TOTAL, Judgement, STPromptMethod, Task

HEAD_WIDTH = 64  # of attention, as in CLIP's own blocks

Branches = Literal["c", "a", "both"]
Aggregation = Literal["none", "average", "attention", "selection", "sa2"]
Temporal = Literal["none", "transformer", "both", "distance"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row; the defaults are the shipped method."""

    branches: Branches = "both"  # trained with; `both` scores with the A-branch, as the paper
    aggregation: Aggregation = "sa2"
    temporal: Temporal = "distance"
    motion: Literal["pixel", "feature"] = "pixel"
    motion_scale: float = 1.0  # motion is multiplied with it before the softmax

    @property
    def score(self) -> str:
        """The branch that gives the score."""
        return "c" if self.branches == "c" else "a"


FULL = Variant()


def motion_of(features: VideoFeatures, variant: Variant) -> NDArray[np.float32]:
    """[T, N], scaled: pixel motion as extracted, or eq. 1 on the window embeddings."""
    motion = features.motion
    if variant.motion == "feature":
        assert features.windows is not None  # they are always kept for benchmarks
        motion = feature_motion(torch.from_numpy(features.windows), features.origin.motion_timing).numpy()
    return motion * np.float32(variant.motion_scale)


def aggregated(features: VideoFeatures, variant: Variant) -> NDArray[np.float32]:
    """x_as [T, D] of a video by the variant's aggregation of its windows."""
    assert features.windows is not None
    if variant.aggregation == "none":
        return np.zeros_like(features.x_clip)
    windows_TND = torch.from_numpy(features.windows)
    if variant.aggregation == "average":
        return windows_TND.mean(dim=1).numpy()
    motion_TN = torch.from_numpy(motion_of(features, variant))
    if variant.aggregation == "attention":
        return aggregate(windows_TND, motion_TN).numpy()
    rows_TK = select_windows(motion_TN, features.origin.windows)
    selected_TKD = windows_TND.gather(1, rows_TK[..., None].expand(-1, -1, windows_TND.shape[2]))
    motion_TK = motion_TN.gather(1, rows_TK)
    return aggregate(selected_TKD, motion_TK * (variant.aggregation == "sa2")).numpy()  # softmax of zeros: plain mean


def largest_attention(features: VideoFeatures, variant: Variant) -> NDArray[np.float32]:
    """[T] weight of the window that SA² looks at most; 1/K if all are equal to it."""
    motion_TN = torch.from_numpy(motion_of(features, variant))
    top_TK = motion_TN.sort(dim=-1, descending=True).values[:, : features.origin.windows]
    return top_TK.softmax(dim=-1)[:, 0].numpy()


class VariantModel(STPrompt):
    """STPrompt with another temporal part.

    `none` leaves the adapter out: x_ta = x_clip + x_as. `transformer` puts multi-head self-attention with a residual
    in the place of A: with the feed-forward network behind it that is one transformer layer. `both` adds the two.
    """

    def __init__(self, clip: Clip, class_names: Sequence[str], sigma: float, temporal: Temporal) -> None:
        super().__init__(clip, class_names, sigma)
        self._temporal = temporal
        if temporal in ("transformer", "both"):
            width = int(clip.model.visual.proj.shape[1])
            self.attention = nn.MultiheadAttention(width, max(width // HEAD_WIDTH, 1), batch_first=True)

    def with_prompts(
        self, x_clip: Tensor, x_as: Tensor, label_prompts: Tensor, lengths: Tensor | None = None
    ) -> Logits:
        """See `STPrompt`."""
        x = x_clip + x_as
        if self._temporal == "none":
            return Logits(self.heads.classifier(x), align(x_clip, x, label_prompts))
        return self.heads(self._context(x, lengths), x_clip, label_prompts)

    def _context(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if self._temporal == "distance":
            return smooth(x, self.sigma, lengths)
        padding = None if lengths is None else torch.arange(x.shape[1])[None] >= lengths[:, None]  # [B, T]
        attended, _ = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)
        return attended + (x if self._temporal == "transformer" else smooth(x, self.sigma, lengths))


class VariantMethod(STPromptMethod):
    """Trains a variant's model with the losses of its branches."""

    def __init__(self, task: Task, videos: Sequence[FeatureVideo], variant: Variant) -> None:
        super().__init__(task, videos)
        self._branches = variant.branches
        with seeded(task.seed):  # the start that the package's own training has
            self.model = VariantModel(task.clip, task.vocabulary.class_names, task.recipe.sigma, variant.temporal)

    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """See `Method`."""
        judgement = super().judge(videos)
        losses = judgement.losses
        if self._branches == "c":
            total = losses["classification"]
        elif self._branches == "a":
            total = self.task.recipe.alpha * losses["alignment"] + self.task.recipe.beta * losses["contrastive"]
        else:
            total = losses[TOTAL]
        return Judgement(losses={**losses, TOTAL: total}, scores_B=judgement.scores_B)


class VariantFit(Fit):
    """`Fit` of a variant: everything but model and losses is the package's."""

    def __init__(self, task: Task, videos: Sequence[FeatureVideo], variant: Variant) -> None:
        super().__init__(task, videos)
        self.method = VariantMethod(task, videos, variant)
        self.model = self.method.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=task.recipe.learning_rate)
