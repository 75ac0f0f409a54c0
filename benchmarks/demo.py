"""The packaged bundle, frame by frame, on rendered test videos of cameras that it was neither trained nor tuned on.

python -m benchmarks.demo     a few minutes; renders the videos on first use
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.common import ROOT, console, write_result
from demo.bundle import SCENES_SEED, TEST_VIDEOS, WORK
from demo.scenes import render_dataset
from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.datasets import Dataset, load_dataset
from stprompt_edge.evaluation import Evaluation, EvaluationSettings, evaluate_bundle

TARGETS = {"frame_auc": 0.90, "tiou": 0.25, "median_seconds_to_alarm": 3.0, "false_alarms_per_hour": 2.0}


def main() -> None:
    """Evaluate, print and write benchmarks/results/demo.json."""
    bundle, dataset = load_bundle(DEMO_BUNDLE), test_videos()
    settings = EvaluationSettings(streaming=True, processes=os.cpu_count() or 1)
    with live_steps(console) as progress:
        evaluation = evaluate_bundle(bundle, dataset, settings, progress=progress)
    result = figures(evaluation)
    table = Table("figure", "measured", "wanted", "met")
    for name, is_met in met(result).items():
        shown = f"{result[name]:.3f}" if result[name] is not None else "missed"
        table.add_row(name, shown, f"{TARGETS[name]:g}", "yes" if is_met else "no")
    console.print(table)
    write_result("demo", {"bundle": digests(bundle), **result})


def test_videos() -> Dataset:
    """The test half of the rendered data set: what `make demo-bundle` made, or the same rendered anew."""
    folder = ROOT / WORK / "scenes"
    if not (folder / "labels.csv").exists():
        folder = ROOT / Path("build/benchmarks/scenes")
    if not (folder / "labels.csv").exists():
        with live_steps(console) as progress:
            render_dataset(
                folder, SCENES_SEED, 0, TEST_VIDEOS, workers=os.cpu_count() or 1,
                progress=lambda done, total, name: progress(name, done / total),
            )  # fmt: skip
    return load_dataset(folder, "auto")


def digests(bundle: Bundle) -> dict[str, str]:
    """sha256 of each file of a bundle: what figures are of."""
    return {name: file.sha256 for name, file in bundle.manifest.files.items()}


def met(result: dict[str, Any]) -> dict[str, bool]:
    """Which of TARGETS a result meets; what could not be told is not met."""
    least = {"frame_auc", "tiou"}
    known = {name: result[name] for name in TARGETS if result[name] is not None}
    return {
        name: name in known and (known[name] >= target if name in least else known[name] <= target)
        for name, target in TARGETS.items()
    }


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """What README states of an evaluation."""
    found = evaluation.figures
    assert found.frames is not None
    assert found.alarm is not None
    own = found.alarm.own
    return {
        "dataset": {
            "normal_videos": evaluation.dataset.normal_videos,
            "abnormal_videos": evaluation.dataset.abnormal_videos,
            "normal_hours": round(found.alarm.normal_hours, 3),
        },
        "frame_auc": round(found.frames.auc, 4),
        "frame_ap": round(found.frames.ap, 4),
        "tiou": round(found.localization.tiou, 4) if found.localization else None,
        "mean_iou": round(found.localization.mean_iou, 4) if found.localization else None,
        "threshold_on": own.threshold_on,
        "false_alarms": own.false_alarms,
        "false_alarms_per_hour": own.false_alarms_per_hour,
        "median_seconds_to_alarm": _finite(own.median_seconds),
        "detected": own.detected,
        "missed": own.missed,
        "class_auc": {name: round(value, 4) for name, value in found.classes.items()},
        "lookahead": [
            {"samples": p.lookahead, "delay_seconds": round(p.delay_seconds, 2), "auc": p.auc} for p in found.lookahead
        ],
    }


def _finite(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else round(seconds, 2)


if __name__ == "__main__":
    main()
