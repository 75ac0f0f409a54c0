"""What a method is in training, what it is told, and what it says.

Suffixes: B videos.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stprompt_edge.bundle import MethodSection, MotionTiming
from stprompt_edge.errors import UsageError
from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.net import Net
from stprompt_edge.vocabulary import Vocabulary

TOTAL = "total"  # the loss that is minimised

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """All that training is told besides its data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["stprompt", "mil-ranking"] = "stprompt"
    stride: Count = 16  # camera frames per sampled frame
    windows: Count = 12  # K of SA²
    sigma: Positive = 1.0  # of the adapter's kernel, in sampled frames
    tau: Positive = 0.07
    alpha: Positive = 0.9  # weight of the alignment loss
    beta: NotNegative = 2.0  # weight of the contrastive loss
    segments: Count = 32  # of a video, mil-ranking; Sultani et al.
    smoothness: NotNegative = 8e-5  # weight of that loss, mil-ranking; Sultani et al.
    sparsity: NotNegative = 8e-5  # as smoothness
    learning_rate: Positive = 1e-4  # AdamW
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = 64  # half normal, half abnormal
    max_length: Count = 256  # sampled frames of a video; longer ones are sampled uniformly
    epochs: Count = 10


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


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a model says of some videos."""

    losses: dict[str, Tensor]  # scalars: the parts, then `total`
    scores_B: Tensor  # of whole videos, 0..1


class Method(ABC):
    """One method's part of training, with videos of both kinds at hand."""

    defaults: ClassVar[Mapping[str, Any]] = {}  # of its recipe, where that does not say
    model: Net  # what is trained
    windows: int  # that the heads are trained on
    motion_timing: MotionTiming

    @abstractmethod
    def __init__(self, task: Task, videos: Sequence[FeatureVideo]) -> None:
        self.task = task

    @abstractmethod
    def judge(self, videos: Sequence[FeatureVideo]) -> Judgement:
        """Losses and scores of these videos; both kinds must be among them.

        Without gradients, as in validation, a batch of the recipe's size goes through the model at a time, so that
        memory does not grow with the number of videos; the losses are of all of them.
        """

    def section(self) -> MethodSection:
        """What the bundle says of the method."""
        recipe = self.task.recipe
        return MethodSection(
            name=recipe.method, windows=self.windows, sigma=recipe.sigma, tau=recipe.tau, stride=recipe.stride,
            motion_timing=self.motion_timing, seconds_between_samples=self.task.seconds_between_samples,
        )  # fmt: skip

    def parts(self, videos: Sequence[FeatureVideo]) -> list[Sequence[FeatureVideo]]:
        """What goes through the model at once: see `judge`."""
        size = len(videos) if torch.is_grad_enabled() else self.task.recipe.batch
        return [videos[start : start + size] for start in range(0, len(videos), size)]
