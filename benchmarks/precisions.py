"""What each precision of an exported bundle costs in AUC: trained bundles on rendered scenes and on UCSD Ped2.

python -m benchmarks.precisions     about ten minutes, after `make demo-bundle` and benchmarks.real
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.ablation import DATASETS, recipe_of
from benchmarks.common import console, write_result
from benchmarks.featured import BUILD, DEMO_ENCODER, PROCESSES, one_line_errors
from benchmarks.real import clip_of, divided, loaded
from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.calibration import Int8Settings, calibrate_int8
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.datasets import TRAIN, Dataset
from stprompt_edge.evaluation import Evaluation, EvaluationSettings, evaluate_bundle
from stprompt_edge.export.exporting import ExportSettings, Model, export_bundle
from stprompt_edge.model.checkpoint import load_checkpoint
from stprompt_edge.runtime.watch import versions
from stprompt_edge.training.fit import Fit
from stprompt_edge.training.methods import Task

PRECISIONS = ("fp32", "fp16", "int8", "cpu8")
BUDGETS = {"fp16": 0.005, "int8": 0.01, "cpu8": 0.01}  # of the AUC's difference to fp32
SEED = 0
CALIBRATION_VIDEOS, CALIBRATION_FRAMES = 12, 128  # of the training videos: never of those that are tested


def main() -> None:
    """Measure and write precisions.json."""
    rows: list[dict[str, Any]] = []
    with one_line_errors():
        for name in DATASETS:
            bundle, division = trained_bundle(name)
            evaluations = {precision: evaluated(bundle, division, precision) for precision in PRECISIONS}
            rows += [row_of(name, precision, evaluations) for precision in PRECISIONS]
    table = Table("data set", "precision", "frame AUC", "to fp32", "budget", "largest score difference")
    for row in rows:
        cells = [f"{row['auc']:.4f}", f"{row['difference']:+.4f}", str(row["budget"] or ""), f"{row['score']:.4f}"]
        table.add_row(row["dataset"], row["precision"], *cells)
    console.print(table)
    write_result("precisions", {"encoder": "demo", "rows": rows, "versions": versions()})


def trained_bundle(name: str) -> tuple[Bundle, Dataset]:
    """A bundle with every precision, trained on a division of a data set, and that division."""
    data, recipe = loaded(name, DEMO_ENCODER), recipe_of(name)
    division, clip = divided(data, SEED), clip_of(DEMO_ENCODER)
    train = [video.for_training(data.label(video)) for video in data.of_split(TRAIN, division)]
    work = BUILD / f"precisions-{name}-{DEMO_ENCODER.key}"
    task = Task(clip=clip, vocabulary=data.vocabulary, recipe=recipe, seed=SEED)
    best = Fit(task, train).run(work / "checkpoint")
    footage = [video.path for video in division.of_split(TRAIN)[:CALIBRATION_VIDEOS]]
    export = ExportSettings(precisions=("fp32", "fp16", "cpu8"), parity_video=footage[0])
    bundle = export_bundle(Model.from_checkpoint(clip, load_checkpoint(best)), work / "bundle", export)
    settings = Int8Settings(footage=tuple(map(str, footage)), out=work / "int8", frames=CALIBRATION_FRAMES)
    with live_steps(console) as progress:
        calibrate_int8(bundle.path, settings, progress)
    return load_bundle(bundle.path), division


def evaluated(bundle: Bundle, division: Dataset, precision: str) -> Evaluation:
    """The test videos of a division, each scored as a whole."""
    with live_steps(console) as progress:
        settings = EvaluationSettings(precision=precision, processes=PROCESSES)
        return evaluate_bundle(bundle, division, settings, progress=progress)


def row_of(name: str, precision: str, evaluations: dict[str, Evaluation]) -> dict[str, Any]:
    """Frame AUC of a precision, and how far it and its scores are from those of fp32."""
    own, reference = evaluations[precision], evaluations["fp32"]
    assert own.figures.frames is not None
    assert reference.figures.frames is not None
    expected = {video.name: video.judged for video in reference.videos}
    return {
        "dataset": name,
        "precision": precision,
        "auc": round(own.figures.frames.auc, 5),
        "difference": round(own.figures.frames.auc - reference.figures.frames.auc, 5),
        "budget": BUDGETS.get(precision),
        "score": round(max(float(np.abs(v.judged - expected[v.name]).max()) for v in own.videos), 5),
        "videos": len(own.videos),
    }


if __name__ == "__main__":
    main()
