"""What training does differently for each method: its model, the tensors it wants, its losses, its part of the bundle.

Suffixes: B videos, T sampled frames (padded), S segments, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from stprompt_edge.bundle import MethodSection, MotionTiming
from stprompt_edge.errors import UsageError
from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.stprompt import Logits, STPrompt
from stprompt_edge.training.batches import make_batch
from stprompt_edge.training.losses import (
    alignment_loss,
    classification_loss,
    contrastive_loss,
    ranking_loss,
    smoothness_loss,
    sparsity_loss,
    topk_mean,
    total_loss,
)
from stprompt_edge.training.recipe import Recipe
from stprompt_edge.vocabulary import Vocabulary

TOTAL = "total"  # the loss that is minimised


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that decides the trained weights, besides the features.

    Raises:
        UsageError: if the seed is negative.
    """

    clip: Clip
    vocabulary: Vocabulary
    recipe: Recipe
    seed: int = 0
    seconds_between_samples: float | None = None
    motion_timing: MotionTiming = "centered"  # of the features

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}, expected 0 or more", remedy="choose another seed")

    @property
    def width(self) -> int:
        """D."""
        return int(self.clip.model.visual.proj.shape[1])


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a model says of some videos."""

    losses: dict[str, Tensor]  # scalars: the parts, then `total`
    scores_B: Tensor  # of whole videos, 0..1


class Method(Protocol):
    """One method's part of training."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """Losses and scores of these videos; both kinds must be among them.

        Without gradients, as in validation, a batch of the recipe's size goes through the model at a time, so that
        memory does not grow with the number of videos; the losses are of all of them.
        """

    def section(self) -> MethodSection:
        """What the bundle says of the method."""


class STPromptMethod:
    """Eq. 4-10 on x_clip and x_as."""

    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        self._task = task
        self.model = STPrompt(task.clip, task.vocabulary.class_names, task.recipe.sigma)

    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """See `Method`."""
        recipe = self._task.recipe
        label_prompts = self.model.prompts()
        parts, lengths, labels = [], [], []
        for part in _parts(videos, recipe.batch):
            batch = make_batch(part, recipe.max_length)
            parts.append(self.model.with_prompts(batch.x_clip, batch.x_as, label_prompts, batch.lengths))
            lengths.append(batch.lengths)
            labels.append(batch.labels)
        logits = Logits(*map(_joined, zip(*parts, strict=True)))
        lengths_B, labels_B = torch.cat(lengths), torch.cat(labels)
        classification = classification_loss(logits.anomaly_logit, lengths_B, (labels_B > 0).float())
        alignment = alignment_loss(logits.similarity, lengths_B, labels_B, recipe.tau)
        contrastive = contrastive_loss(label_prompts)
        scores_BT = anomaly_score(*logits, recipe.tau, "a")
        return Judgement(
            losses={
                "classification": classification,
                "alignment": alignment,
                "contrastive": contrastive,
                TOTAL: total_loss(classification, alignment, contrastive, recipe.alpha, recipe.beta),
            },
            scores_B=topk_mean(scores_BT.detach(), lengths_B),
        )

    def section(self) -> MethodSection:
        """See `Method`."""
        recipe = self._task.recipe
        return MethodSection(
            name="stprompt", windows=recipe.windows, sigma=recipe.sigma, tau=recipe.tau, stride=recipe.stride,
            motion_timing=self._task.motion_timing, seconds_between_samples=self._task.seconds_between_samples,
        )  # fmt: skip


class MilRankingMethod:
    """Sultani et al. on the windows of 32 segments of each video.

    A segment's score is the sigmoid of the mean logit of its top windows (`model.mil_ranking`). A video's score, which
    the hinge ranks, is the mean of its top segments by eq. 6's rule, k = S // 16 + 1, in place of the paper's maximum:
    see `bag_scores`. Smoothness and sparsity are over the segments of abnormal videos, as in the paper. The kernel over
    time is not used here: what it smooths are sampled frames, and a segment is a mean of several.
    """

    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        missing = next((video for video in videos if video.segments is None), None)
        if missing is not None:
            raise UsageError(
                f"features of {missing.name} have no windows, which mil-ranking is trained on",
                remedy="extract them into the same folder again with: stprompt-edge extract --keep windows",
            )
        self._task = task
        assert videos[0].segments is not None
        self._windows = videos[0].segments.shape[1]
        self.model = MilRanking(task.width, task.recipe.sigma)

    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """See `Method`."""
        recipe = self._task.recipe
        scores_BS = torch.cat([self._scores(part) for part in _parts(videos, recipe.batch)])
        abnormal_B = torch.tensor([video.label > 0 for video in videos])
        bags_B = bag_scores(scores_BS)
        ranking = ranking_loss(bags_B, abnormal_B)
        smoothness = recipe.smoothness * smoothness_loss(scores_BS[abnormal_B])
        sparsity = recipe.sparsity * sparsity_loss(scores_BS[abnormal_B])
        parts = {"ranking": ranking, "smoothness": smoothness, "sparsity": sparsity}
        return Judgement(losses={**parts, TOTAL: ranking + smoothness + sparsity}, scores_B=bags_B.detach())

    def _scores(self, videos: Sequence[FeatureVideo]) -> Tensor:
        """[B, S], 0..1."""
        segments = [torch.from_numpy(video.segments) for video in videos if video.segments is not None]
        return self.model.heads(torch.stack(segments).float()).anomaly_logit.sigmoid()

    def section(self) -> MethodSection:
        """See `Method`; motion is not used, and `causal` needs no later frame."""
        recipe = self._task.recipe
        return MethodSection(
            name="mil-ranking", windows=self._windows, sigma=recipe.sigma, tau=recipe.tau, stride=recipe.stride,
            motion_timing="causal", seconds_between_samples=self._task.seconds_between_samples,
        )  # fmt: skip


def _parts(videos: Sequence[FeatureVideo], batch: int) -> list[Sequence[FeatureVideo]]:
    """What goes through the model at once: see `Method.judge`."""
    size = len(videos) if torch.is_grad_enabled() else batch
    return [videos[start : start + size] for start in range(0, len(videos), size)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """[B, T, ...] of parts that are padded to their own longest -> one, padded to the longest of all."""
    return pad_sequence([row for part in parts for row in part], batch_first=True)


def bag_scores(scores_BS: Tensor) -> Tensor:
    """Mean of the S // 16 + 1 highest segments of each video: [B, S] -> [B]."""
    return topk_mean(scores_BS, torch.full((len(scores_BS),), scores_BS.shape[1]))


METHODS: dict[str, Callable[[Task, Sequence[FeatureVideo]], Method]] = {
    "stprompt": STPromptMethod,
    "mil-ranking": MilRankingMethod,
}
