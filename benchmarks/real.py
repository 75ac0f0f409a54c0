"""STPrompt against the ranking method on equal features: real footage, with an encoder that never saw any.

Two encoders: the packaged demo's, trained on rendered scenes, and ViT-B/16 with seeded random weights. Learning rate,
epochs and heat threshold are chosen for each data set, encoder and method from the same grid, on a division of the
videos of its own; see `TUNING_SEED`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from benchmarks.common import console, read_result, write_result
from benchmarks.featured import (
    BUILD,
    DEMO_ENCODER,
    PROCESSES,
    SEEDED_ENCODER,
    Encoder,
    FeaturedDataset,
    FeaturedVideo,
    one_line_errors,
    real,
    scenes,
)
from benchmarks.localizing import Heats, annotated_areas, phrase_heats, ranking_heats, tiou_by_threshold
from benchmarks.runs import (
    Scores,
    frame_figures,
    mean_and_deviation,
    paired,
    ranking_scores,
    spread_over,
    stprompt_scores,
    trained,
    video_figures,
)
from stprompt_edge.datasets import TRAIN, Dataset, ped2_weak_split
from stprompt_edge.evaluation.truth import Area
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import Clip
from stprompt_edge.runtime.watch import versions
from stprompt_edge.training.fit import Fit
from stprompt_edge.training.methods import Task
from stprompt_edge.training.recipe import Recipe, load_recipe

METHODS = ("stprompt", "mil-ranking")
LEARNING_RATES = (3e-4, 1e-3, 3e-3)
TUNING_SEED = 1000  # of the division, and of the training, that settings are chosen by
TUNING_TRAIN_SHARE = 0.7  # of the training videos, where the data set has a split of its own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A data set and how it is used."""

    name: str
    stride: int  # camera frames; so that extraction with ViT-B/16 takes minutes
    recipe: str  # of which learning rate and epochs are chosen here
    segments: int  # of the ranking method's bags: no more than a video has sampled frames
    epochs: tuple[int, ...]  # that are tried; an epoch of more videos has more steps
    repeats: int  # seeds; of Ped2 also divisions
    figure: str  # what settings are chosen by


SUBJECTS = {
    "ped2": Subject(
        name="ped2", stride=4, recipe="ped2", segments=32, epochs=(10, 30, 100), repeats=10, figure="auc"
    ),
    "surv_fight": Subject(
        name="surv_fight", stride=16, recipe="ucf-crime", segments=4, epochs=(3, 10, 30), repeats=5, figure="video_auc"
    ),
    "scenes": Subject(
        name="scenes", stride=4, recipe="scenes", segments=32, epochs=(10, 30, 100), repeats=5, figure="auc"
    ),
}  # fmt: skip
PAIRS = (
    ("ped2", DEMO_ENCODER),
    ("ped2", SEEDED_ENCODER),
    ("surv_fight", DEMO_ENCODER),
    ("surv_fight", SEEDED_ENCODER),
    ("scenes", DEMO_ENCODER),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One training and its test."""

    subject: str
    encoder: Encoder
    method: str
    seed: int
    learning_rate: float
    epochs: int

    def recipe(self) -> Recipe:
        """What `train` would use for the method, with what this trial changes."""
        subject = SUBJECTS[self.subject]
        changes = {
            "stride": subject.stride, "segments": subject.segments,
            "learning_rate": self.learning_rate, "epochs": self.epochs,
        }  # fmt: skip
        return load_recipe(subject.recipe, self.method).model_copy(update=changes)


@cache
def loaded(subject: str, encoder: Encoder) -> FeaturedDataset:
    """Features of a subject, extracted on the first call."""
    return scenes() if subject == "scenes" else real(subject, encoder, SUBJECTS[subject].stride)


@cache
def clip_of(encoder: Encoder) -> Clip:
    """The encoder in torch."""
    return encoder.clip()


@cache
def areas_of(subject: str, encoder: Encoder) -> dict[str, dict[int, Area]]:
    """True areas of the videos that have masks."""
    videos = loaded(subject, encoder).videos.values()
    return {video.name: annotated_areas(video) for video in videos if video.video.masks is not None}


@cache
def heats_of_phrases(subject: str, encoder: Encoder) -> dict[str, Heats] | None:
    """Eq. 11, where its phrases mean something: seeded weights know no words."""
    if subject != "ped2" or encoder != DEMO_ENCODER:
        return None
    return phrase_heats(loaded(subject, encoder), encoder, BUILD / f"{subject}-{encoder.key}-heats.npz")


def divided(data: FeaturedDataset, seed: int) -> Dataset:
    """Who trains and who tests: Ped2 by seed; others as they come, or a part of their training videos to tune on."""
    if data.dataset.name == "ped2":
        return ped2_weak_split(data.dataset, seed)
    if seed != TUNING_SEED:
        return data.dataset
    rng = np.random.default_rng(seed)
    own = data.dataset.of_split(TRAIN)
    part = dataclasses.replace(data.dataset, videos=own)
    names = []
    for normal in (True, False):
        of_kind = [video.name for video in own if video.is_normal == normal]
        names += list(rng.permutation(of_kind)[: round(len(of_kind) * TUNING_TRAIN_SHARE)])
    return part.with_splits(names)


def run(trial: Trial) -> dict[str, Any]:
    """Train and test; `tiou` by heat threshold where there are masks and heat maps."""
    data, clip = loaded(trial.subject, trial.encoder), clip_of(trial.encoder)
    division, recipe = divided(data, trial.seed), trial.recipe()
    segments = recipe.segments if trial.method == "mil-ranking" else 0
    task = Task(clip=clip, vocabulary=data.vocabulary, recipe=recipe, seed=trial.seed)
    train = [video.for_training(data.label(video), segments=segments) for video in data.of_split(TRAIN, division)]
    test = data.of_split("test", division)
    model = trained(Fit(task, train))
    scores, heats = judged(trial, model, test, recipe.tau)
    figures: dict[str, Any] = video_figures(test, scores)
    if trial.subject != "surv_fight":  # which has labels of videos alone
        figures |= frame_figures(test, scores)
    areas = areas_of(trial.subject, trial.encoder)
    if heats is not None and areas:
        figures["tiou"] = tiou_by_threshold(test, scores, heats, areas)
    return figures


def judged(
    trial: Trial, model: Any, test: Sequence[FeaturedVideo], tau: float
) -> tuple[list[Scores], Callable[[int], Heats] | None]:
    """Scores of the test videos, and the heat maps of the n-th."""
    if trial.method == "mil-ranking":
        pairs = [ranking_scores(model, video.windows) for video in test]
        return [scores for scores, _ in pairs], lambda n: ranking_heats(pairs[n][1], Geometry())
    scores = [stprompt_scores(model, video.features.x_clip, video.features.x_as, tau, "a") for video in test]
    heats = heats_of_phrases(trial.subject, trial.encoder)
    return scores, None if heats is None else lambda n: heats[test[n].name]


def grid(subject: str, encoder: Encoder, method: str) -> list[Trial]:
    """Everything that is tried before settings are chosen."""
    return [
        Trial(
            subject=subject, encoder=encoder, method=method, seed=TUNING_SEED, learning_rate=rate, epochs=epochs
        )
        for rate, epochs in product(LEARNING_RATES, SUBJECTS[subject].epochs)
    ]  # fmt: skip


def choose(trials: Sequence[Trial], results: Sequence[Mapping[str, Any]]) -> tuple[Trial, float | None]:
    """The trial with the best figure, and the heat threshold with its best TIoU."""
    figure = SUBJECTS[trials[0].subject].figure
    best = max(range(len(trials)), key=lambda n: results[n][figure])
    by_threshold = results[best].get("tiou")
    return trials[best], max(by_threshold, key=by_threshold.get) if by_threshold else None


def summary(repeats: Sequence[Mapping[str, Any]], threshold: float | None) -> dict[str, Any]:
    """Mean and deviation of each figure over repeats; TIoU at one heat threshold."""
    names = [name for name in repeats[0] if name != "tiou"]
    figures = {name: mean_and_deviation([one[name] for one in repeats]) for name in names}
    if threshold is not None:
        figures["tiou"] = mean_and_deviation([one["tiou"][threshold] for one in repeats])
    return figures


def measure(subject: str, encoder: Encoder) -> dict[str, Any]:
    """Both methods on equal features: tuned, then repeated."""
    rows, tuning, by_method = [], [], {}
    for method in METHODS:
        trials = grid(subject, encoder, method)
        tried = spread_over(trials, run, PROCESSES)
        chosen, threshold = choose(trials, tried)
        seeds = range(SUBJECTS[subject].repeats)
        repeats = spread_over([dataclasses.replace(chosen, seed=seed) for seed in seeds], run, PROCESSES)
        by_method[method] = repeats
        settings = {"learning_rate": chosen.learning_rate, "epochs": chosen.epochs, "heat_threshold": threshold}
        rows.append({"method": method, **settings, "repeats": len(repeats), **summary(repeats, threshold)})
        tuning += [
            {"method": method, "learning_rate": trial.learning_rate, "epochs": trial.epochs, **summary([one], None)}
            for trial, one in zip(trials, tried, strict=True)
        ]
        console.print(subject, encoder.name, rows[-1])
    figure = SUBJECTS[subject].figure
    values = [[one[figure] for one in by_method[method]] for method in METHODS]
    return {
        "dataset": subject,
        "encoder": encoder.name,
        "stride": SUBJECTS[subject].stride,
        "rows": rows,
        "difference": {"figure": figure, **paired(*values)},
        "tuning": tuning,
    }


def main() -> None:
    """Measure and write real.json; pairs that are not named keep the figures that they had."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    names = [f"{subject}:{encoder.name}" for subject, encoder in PAIRS]
    parser.add_argument("pairs", nargs="*", choices=[*names, []], help="DATASET:ENCODER; all when none is named")
    wanted = parser.parse_args().pairs or names
    with one_line_errors():
        pairs = [pair for pair, name in zip(PAIRS, names, strict=True) if name in wanted]
        for subject, encoder in pairs:  # here, so that the processes find everything made
            loaded(subject, encoder)
            heats_of_phrases(subject, encoder)
        for subject, encoder in pairs:
            keep(measure(subject, encoder))


def keep(measurement: dict[str, Any]) -> None:
    """Write a measurement into real.json, in the place of the same one."""
    chosen = {
        "learning_rates": LEARNING_RATES, "epochs": {one.name: one.epochs for one in SUBJECTS.values()},
        "seed": TUNING_SEED,
        "note": "settings were chosen once for each data set, encoder and method, from the same grid: on a part of the "
        "training videos; of Ped2 on one more random division of the same 28 videos, so that its settings have seen "
        "videos which other divisions test. What is not in the grid is what `train` uses for the method. A heat "
        "threshold was chosen there too. Phrases were written once and never tuned.",
    }  # fmt: skip
    order = [(subject, encoder.name) for subject, encoder in PAIRS]
    kept = {(one["dataset"], one["encoder"]): one for one in read_result("real", {"measurements": []})["measurements"]}
    kept[measurement["dataset"], measurement["encoder"]] = measurement
    measurements = [kept[pair] for pair in order if pair in kept]
    write_result("real", {"measurements": measurements, "tuned": chosen, "versions": versions()})


if __name__ == "__main__":
    main()
