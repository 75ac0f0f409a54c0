"""What `train` does with what a user typed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.errors import UsageError
from stprompt_edge.model.clip import load_clip
from stprompt_edge.training.extraction import load_origin, load_training_videos
from stprompt_edge.training.fit import EpochFigures, Fit, Task
from stprompt_edge.training.recipe import Recipe, load_recipe
from stprompt_edge.vocabulary import load_vocabulary


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a user types to train."""

    features: Path
    out: Path
    vocabulary: str
    recipe: str
    pretrained: str | None = None  # weights to load CLIP's text encoder from; None for those the features name
    epochs: int | None = None
    seed: int = 0


def train(settings: TrainSettings, *, stop: threading.Event, on_epoch: Callable[[EpochFigures, Recipe], None]) -> Path:
    """Train STPrompt on a folder of features.

    Returns:
        The best checkpoint.

    Raises:
        UsageError: features, vocabulary or recipe do not fit each other.
        CheckFailed: `out` holds another training.
    """
    vocabulary, recipe = load_vocabulary(settings.vocabulary), load_recipe(settings.recipe)
    if settings.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": settings.epochs})
    videos, spacing = load_training_videos(settings.features, vocabulary)
    origin = load_origin(settings.features)
    if (origin.stride, origin.windows) != (recipe.stride, recipe.windows):
        raise UsageError(
            f"the features have stride {origin.stride} and {origin.windows} windows, the recipe {settings.recipe} has "
            f"{recipe.stride} and {recipe.windows}",
            remedy=f"extract again with --stride {recipe.stride}, or pass a recipe file with stride = {origin.stride}",
        )
    task = Task(
        clip=load_clip(origin.clip, settings.pretrained or origin.pretrained, origin.seed),
        vocabulary=vocabulary,
        recipe=recipe,
        seed=settings.seed,
        seconds_between_samples=spacing or None,
    )
    return Fit(task, videos).run(settings.out, stop=stop, on_epoch=lambda figures: on_epoch(figures, recipe))
