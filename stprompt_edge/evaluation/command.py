"""What `stprompt-edge evaluate` does with what a user typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.datasets import Dataset, load_dataset
from stprompt_edge.evaluation.evaluating import evaluate_path
from stprompt_edge.evaluation.folder import check_out, write_evaluation
from stprompt_edge.evaluation.opening import plan_for
from stprompt_edge.evaluation.records import Evaluation, EvaluationSettings
from stprompt_edge.features.index import feature_files
from stprompt_edge.files import check_writable
from stprompt_edge.overwriting import Input, given_file
from stprompt_edge.progress import StepProgress
from stprompt_edge.reports.charts import require_matplotlib


@dataclass(frozen=True, kw_only=True)
class EvaluationCommand:
    """All that is typed."""

    model: Path  # bundle or checkpoint
    dataset: Path
    out: Path
    settings: EvaluationSettings
    dataset_format: str = "auto"
    html: bool = False


def _inputs(command: EvaluationCommand, dataset: Dataset) -> list[Input]:
    """What an evaluation reads."""
    features, weights = command.settings.features, given_file(command.settings.pretrained)
    files: list[Input] = [("feature file", file) for file in (feature_files(features) if features else ())]
    given: list[Input] = [("model", command.model), ("data set", command.dataset), ("weights", weights)]
    return [*given, ("folder of features", features), *files, *(("video", video.path) for video in dataset.videos)]


def evaluate(command: EvaluationCommand, progress: StepProgress) -> tuple[Evaluation, tuple[Path, ...]]:
    """Evaluate and write; whatever can be refused is refused before the first video.

    Returns:
        The evaluation, and the files written.

    Raises:
        As `load_dataset`, `check_out`, `evaluate_path` and `write_evaluation`.
    """
    check_out(command.out)
    require_matplotlib()
    dataset = load_dataset(command.dataset, command.dataset_format)
    plan_for(command.model, command.settings)  # for its errors: before features that do not belong to it are read
    check_out(command.out, _inputs(command, dataset))
    check_writable(command.out)
    evaluation = evaluate_path(command.model, dataset, command.settings, progress=progress)
    progress("drawing", 1.0)
    return evaluation, write_evaluation(evaluation, command.out, html=command.html)
