"""What `train` does with what a user typed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stprompt_edge.bundle import METHOD_TRAITS, MotionTiming
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError, nearest
from stprompt_edge.features.index import feature_files, load_origin, load_training_videos
from stprompt_edge.features.records import FeatureOrigin
from stprompt_edge.files import LOCK_NAME, only_writer
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.overwriting import Input, check_outputs, given_file
from stprompt_edge.reports.charts import require_matplotlib
from stprompt_edge.training.curves import CURVES_NAMES, EpochFigures, draw_curves
from stprompt_edge.training.fit import FILE_NAMES, Fit
from stprompt_edge.training.methods import METHODS, Task
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
    method: str | None = None  # of `METHODS`; None for the recipe's
    epochs: int | None = None  # None for the recipe's
    seed: int = 0


def train(
    settings: TrainSettings, *, stop: threading.Event, on_epoch: Callable[[Sequence[EpochFigures], Recipe], None]
) -> Path:
    """Train on a folder of features, and draw the curves at the end or when `stop` is set.

    Returns:
        The best checkpoint.

    Raises:
        UsageError: features, vocabulary, method or recipe do not fit each other, another run writes to `out`, or an
            output is an input.
        CheckFailed: the CLIP is not the features', `out` holds another training, or a loss is not finite.
        EnvironmentFailure: disk full, or a package is missing.
    """
    require_matplotlib()  # found missing before hours of training, not after
    vocabulary, recipe = load_vocabulary(settings.vocabulary), _recipe(settings)
    origin = load_origin(settings.features)
    _check_out(settings)
    recipe = _fitted(recipe, origin, settings.recipe)
    clip = _load_clip(origin, settings)
    segments = recipe.segments if METHOD_TRAITS[recipe.method].all_windows else None
    videos, spacing = load_training_videos(settings.features, vocabulary, segments=segments)
    task = Task(
        clip=clip,
        vocabulary=vocabulary,
        recipe=recipe,
        seed=settings.seed,
        seconds_between_samples=spacing or None,
        motion_timing=cast(MotionTiming, origin.motion_timing),
    )
    fit = Fit(task, videos)
    with only_writer(settings.out):
        best = fit.run(settings.out, stop=stop, on_epoch=lambda figures: on_epoch(figures, recipe))
        draw_curves(settings.out, fit.figures)
    return best


def _check_out(settings: TrainSettings) -> None:
    """Refuse an `out` whose files are those that are trained from."""
    features: list[Input] = [("feature file", file) for file in feature_files(settings.features)]
    given: list[Input] = [
        ("folder of features", settings.features), ("vocabulary", given_file(settings.vocabulary)),
        ("recipe", given_file(settings.recipe)), ("weights", given_file(settings.pretrained)),
    ]  # fmt: skip
    files = [settings.out / name for name in (*FILE_NAMES, *CURVES_NAMES, LOCK_NAME)]
    check_outputs([*given, *features], files=files, folder=settings.out)


def _load_clip(origin: FeatureOrigin, settings: TrainSettings) -> Clip:
    """The CLIP whose image encoder made the features: its text encoder speaks of the same embeddings."""
    try:
        clip = load_clip(origin.clip, settings.pretrained or origin.pretrained, origin.seed)
    except (UsageError, EnvironmentFailure) as exc:
        if settings.pretrained is not None:
            raise
        raise type(exc)(
            f"the weights that the features were made with are not here: {exc.what}",
            remedy="pass their file: --pretrained PATH",
        ) from exc
    if origin.weights_sha256 is not None and clip.weights_sha256 != origin.weights_sha256:
        raise CheckFailed(
            f"the features in {settings.features} were made with the weights {origin.pretrained} of {origin.clip} "
            f"(sha256 {origin.weights_sha256[:12]}), got {clip.pretrained} ({clip.weights_sha256[:12]})",
            remedy="pass the weights that made them: --pretrained PATH, or extract again",
        )
    return clip


def _recipe(settings: TrainSettings) -> Recipe:
    """The recipe with what the user wants instead."""
    if settings.method is not None and settings.method not in METHODS:
        raise UsageError(f"unknown method '{settings.method}'", remedy=nearest(settings.method, METHODS))
    recipe = load_recipe(settings.recipe, settings.method)
    return recipe if settings.epochs is None else recipe.model_copy(update={"epochs": settings.epochs})


def _fitted(recipe: Recipe, origin: FeatureOrigin, name: str) -> Recipe:
    """With K = 0 where the features are of whole frames alone, as published ones. Raises where they do not fit."""
    all_windows = METHOD_TRAITS[recipe.method].all_windows
    if all_windows and not origin.windows:
        raise UsageError(
            f"the features are of whole frames, and {recipe.method} is trained on windows",
            remedy="pass --method stprompt, or extract from the videos with --keep windows",
        )
    if origin.stride != recipe.stride:
        raise UsageError(
            f"the features have stride {origin.stride}, the recipe {name} has {recipe.stride}",
            remedy=f"extract again with --stride {recipe.stride}, or pass a recipe file with stride = {origin.stride}",
        )
    if not all_windows and origin.windows not in (0, recipe.windows):
        raise UsageError(
            f"the features are of {origin.windows} windows, the recipe {name} has {recipe.windows}",
            remedy=f"extract again with another bundle, or pass a recipe file with windows = {origin.windows}",
        )
    return recipe if origin.windows else recipe.model_copy(update={"windows": 0})
