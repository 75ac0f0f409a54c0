"""What each part of STPrompt is worth: the rows of the paper's Tables 4, 5 and 6, and scales of SA²'s motion.

On the rendered scenes, with the features of `make demo-bundle` and the shipped recipe, and on UCSD Ped2, weakly
supervised, with the settings that `benchmarks.real` chose for STPrompt. Every row has the same seeds and divisions, so
that differences to the shipped method are taken repeat by repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.ablation_models import FULL, Variant, VariantFit, aggregated, largest_attention
from benchmarks.common import console, read_result, write_result
from benchmarks.featured import DEMO_ENCODER, PROCESSES, one_line_errors
from benchmarks.real import Trial, clip_of, divided, loaded
from benchmarks.runs import frame_figures, mean_and_deviation, paired, spread_over, stprompt_scores, trained
from stprompt_edge.datasets import TRAIN
from stprompt_edge.runtime.watch import versions
from stprompt_edge.training.methods import Task
from stprompt_edge.training.recipe import Recipe, load_recipe

DATASETS = ("scenes", "ped2")
REPEATS = {"scenes": 5, "ped2": 5}

BRANCHES = {"c": "C-branch", "a": "A-branch", "both": "both branches"}
TABLES: dict[str, dict[str, Variant]] = {
    "branches": {
        f"{BRANCHES[branches]}{', SA²' if spatial else ''}{', adapter' if temporal else ''}": Variant(
            branches=branches,
            aggregation="sa2" if spatial else "none",
            temporal="distance" if temporal else "none",
        )
        for branches in ("c", "a", "both")
        for spatial in (False, True)
        for temporal in (False, True)
    },
    "spatial": {
        "average of all 49": replace(FULL, aggregation="average"),
        "attention over all 49": replace(FULL, aggregation="attention"),
        "12 selected, average": replace(FULL, aggregation="selection"),
        "12 selected, attention (SA²)": FULL,
    },
    "temporal": {
        "none": replace(FULL, temporal="none"),
        "transformer": replace(FULL, temporal="transformer"),
        "transformer and distance": replace(FULL, temporal="both"),
        "distance (eq. 4)": FULL,
    },
    "motion": {
        "pixel motion as it is": FULL,
        **{f"pixel motion × {scale}": replace(FULL, motion_scale=scale) for scale in (8, 32, 128)},
        "feature motion": replace(FULL, motion="feature"),
        "feature motion × 0.25": replace(FULL, motion="feature", motion_scale=0.25),
    },
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One variant on one data set with one seed."""

    dataset: str
    variant: Variant
    seed: int


@cache
def recipe_of(dataset: str) -> Recipe:
    """The shipped one for scenes; for Ped2 what `benchmarks.real` chose."""
    if dataset == "scenes":
        return load_recipe("scenes")
    measured = next(
        one for one in read_result("real")["measurements"] if (one["dataset"], one["encoder"]) == (dataset, "demo")
    )
    row = next(row for row in measured["rows"] if row["method"] == "stprompt")
    trial = Trial(
        subject=dataset, encoder=DEMO_ENCODER, method="stprompt", seed=0,
        learning_rate=row["learning_rate"], epochs=row["epochs"],
    )  # fmt: skip
    return trial.recipe()


def run(job: Job) -> dict[str, float]:
    """Train a variant and test it."""
    data, variant, recipe = loaded(job.dataset, DEMO_ENCODER), job.variant, recipe_of(job.dataset)
    division = divided(data, job.seed)
    x_as = {name: aggregated(video.features, variant) for name, video in data.videos.items()}
    train = [video.for_training(data.label(video), x_as[video.name]) for video in data.of_split(TRAIN, division)]
    test = data.of_split("test", division)
    task = Task(clip=clip_of(DEMO_ENCODER), vocabulary=data.vocabulary, recipe=recipe, seed=job.seed)
    model = trained(VariantFit(task, train, variant))
    scores = [
        stprompt_scores(model, video.features.x_clip, x_as[video.name], recipe.tau, variant.score) for video in test
    ]
    return frame_figures(test, scores)


def measure(dataset: str) -> dict[Variant, list[dict[str, float]]]:
    """Every distinct variant with every seed."""
    variants = list(dict.fromkeys(variant for table in TABLES.values() for variant in table.values()))
    jobs = [
        Job(dataset=dataset, variant=variant, seed=seed) for variant in variants for seed in range(REPEATS[dataset])
    ]
    figures = iter(spread_over(jobs, run, PROCESSES))
    return {variant: [next(figures) for _ in range(REPEATS[dataset])] for variant in variants}


def row_of(dataset: str, variant: Variant, measured: dict[Variant, list[dict[str, float]]]) -> dict[str, Any]:
    """Figures of one variant on one data set."""
    repeats = measured[variant]
    figures: dict[str, Any] = {name: mean_and_deviation([one[name] for one in repeats]) for name in ("auc", "ap")}
    figures["to_full"] = paired([one["auc"] for one in repeats], [one["auc"] for one in measured[FULL]])
    if variant.aggregation == "sa2":
        videos = loaded(dataset, DEMO_ENCODER).videos.values()
        largest = np.concatenate([largest_attention(video.features, variant) for video in videos])
        figures["largest_attention"] = round(float(largest.mean()), 4)
    return figures


def main() -> None:
    """Measure and write ablation.json."""
    with one_line_errors():
        for dataset in DATASETS:
            loaded(dataset, DEMO_ENCODER)
        measured = {dataset: measure(dataset) for dataset in DATASETS}
        tables = {
            table: [
                {"name": name, **{dataset: row_of(dataset, variant, measured[dataset]) for dataset in DATASETS}}
                for name, variant in variants.items()
            ]
            for table, variants in TABLES.items()
        }
    for name, rows in tables.items():
        table = Table(name, *(f"{dataset} {figure}" for dataset in DATASETS for figure in ("AUC", "AP", "to full")))
        for row in rows:
            table.add_row(row["name"], *(cell for dataset in DATASETS for cell in cells(row[dataset])))
        console.print(table)
    recipes = {dataset: recipe_of(dataset).model_dump() for dataset in DATASETS}
    write_result(
        "ablation",
        {"tables": tables, "repeats": REPEATS, "recipes": recipes, "encoder": "demo", "versions": versions()},
    )


def cells(figures: dict[str, Any]) -> list[str]:
    """AUC, AP and the difference to the shipped method, in percent."""
    shown = [f"{100 * figures[name]['mean']:.2f} ± {100 * figures[name]['std']:.2f}" for name in ("auc", "ap")]
    difference = figures["to_full"]
    return [*shown, f"{100 * difference['mean']:+.2f} ± {100 * difference['standard_error']:.2f}"]


if __name__ == "__main__":
    main()
