"""A model and a data set -> an `Evaluation`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from stprompt_edge.bundle import MANIFEST_NAME, Bundle, cautions, describe_bundle, describe_file
from stprompt_edge.datasets import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import SPLITS
from stprompt_edge.errors import UsageError
from stprompt_edge.evaluation import metrics
from stprompt_edge.evaluation.figures import median_spacing, offline_figures, streaming_figures
from stprompt_edge.evaluation.metrics import SECONDS_PER_HOUR
from stprompt_edge.evaluation.notes import notes_on
from stprompt_edge.evaluation.opening import Plan, plan_for, score_videos
from stprompt_edge.evaluation.records import (
    DatasetFacts,
    Evaluation,
    EvaluationSettings,
    Figures,
    ModelFacts,
    ScoredVideo,
)
from stprompt_edge.evaluation.scoring import OpenModel, Outcome
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.backends.base import Backend


def evaluate_bundle(
    bundle: Bundle,
    dataset: Dataset,
    settings: EvaluationSettings | None = None,
    *,
    backend: Backend | None = None,
    progress: StepProgress = lambda what, done: None,
) -> Evaluation:
    """Evaluate a bundle on the videos of a split.

    Args:
        bundle: from `load_bundle`.
        dataset: from `load_dataset`.
        settings: None for offline scores of the test split.
        backend: the bundle's graphs, open, and left open; None to open them. With several processes each opens its own,
            on the CPU.
        progress: told the video, and the fraction done.

    Raises:
        UsageError: the split lacks what any figure needs, none of its videos can be used, or a backend is to serve
            several processes.
        EnvironmentFailure: scikit-learn or the backend's package is missing.
        CheckFailed: a graph does not load.
    """
    settings = settings or EvaluationSettings()
    plan = Plan(kind="bundle", path=bundle.path, settings=settings, bundle=bundle)
    if backend is not None:
        if settings.processes > 1:
            what = f"an open backend serves one process, not {settings.processes}"
            raise UsageError(what, remedy="leave out the backend: each process opens its own; or leave out processes")
        return _evaluate(plan, OpenModel(bundle=bundle, backend=backend), dataset, progress)
    videos = videos_of(dataset, settings)  # before the graphs are loaded
    with plan.open_for(videos).backend as opened:
        return _evaluate(plan, OpenModel(bundle=bundle, backend=opened), dataset, progress)


def evaluate_path(
    path: Path, dataset: Dataset, settings: EvaluationSettings, *, progress: StepProgress = lambda what, done: None
) -> Evaluation:
    """Evaluate the bundle or the checkpoint at a path.

    Raises:
        As `evaluate_bundle` and `plan_for`; of a checkpoint as `open_checkpoint`.
    """
    plan = plan_for(path, settings)
    videos = videos_of(dataset, settings)
    progress("opening the model", 0.0)
    model = plan.open_for(videos)
    with model.backend:
        return _evaluate(plan, model, dataset, progress)


def videos_of(dataset: Dataset, settings: EvaluationSettings) -> tuple[LabelledVideo, ...]:
    """The videos to score.

    Raises:
        UsageError: there are none, or what is there allows no figure.
    """
    videos = dataset.of_split(settings.split)
    if not videos:
        held = ", ".join(f"{len(dataset.of_split(split))} in {split}" for split in SPLITS)
        raise UsageError(f"data set '{dataset.name}' has no videos in {settings.split}: {held}", remedy="pass --split")
    abnormal = [video for video in videos if not video.is_normal]
    if not abnormal and not settings.streaming:
        raise UsageError(
            f"all {len(videos)} videos of '{dataset.name}', {settings.split}, are normal: no AUC is defined",
            remedy="add --streaming to count false alarms in them, or give abnormal videos too",
        )
    annotated = [video for video in abnormal if video.frame_ranges is not None]
    if len(abnormal) == len(videos) and not annotated:
        raise UsageError(
            f"all {len(videos)} videos of '{dataset.name}', {settings.split}, are abnormal, and no frame is annotated",
            remedy="add normal videos, or frame-level annotation: nothing can be compared",
        )
    return videos


def _evaluate(plan: Plan, model: OpenModel, dataset: Dataset, progress: StepProgress) -> Evaluation:
    settings = plan.settings
    videos = videos_of(dataset, settings)
    metrics.import_sklearn_metrics()  # better now than after hours of scoring
    outcomes: dict[str, Outcome] = {}
    for video, outcome in _outcomes(plan, model, videos, progress):
        outcomes[video.name] = outcome
    ordered = [(video.name, outcomes[video.name]) for video in videos]
    scored = tuple(outcome for _, outcome in ordered if isinstance(outcome, ScoredVideo))
    skipped = tuple((name, outcome) for name, outcome in ordered if isinstance(outcome, str))
    if not scored:
        raise UsageError(
            f"no video of '{dataset.name}', {settings.split}, can be used; the first, {skipped[0][0]}: {skipped[0][1]}",
            remedy="check its paths and annotation",
        )
    progress("computing figures", 1.0)
    figures = _figures(model.bundle, scored, videos, settings)
    return Evaluation(
        streaming=settings.streaming,
        model=_model_facts(plan, model, scored),
        dataset=_dataset_facts(dataset, scored, settings),
        figures=figures,
        videos=scored,
        skipped=skipped,
        notes=tuple(notes_on(model.bundle, dataset, scored, skipped, figures, settings)),
    )


def _outcomes(
    plan: Plan, model: OpenModel, videos: Sequence[LabelledVideo], progress: StepProgress
) -> Iterable[tuple[LabelledVideo, Outcome]]:
    if plan.settings.features is None:
        return score_videos(plan, model, videos, progress)
    from stprompt_edge.evaluation.checkpoints import score_features  # torch

    return score_features(model, videos, plan.settings, progress)


def _figures(
    bundle: Bundle, scored: Sequence[ScoredVideo], videos: Sequence[LabelledVideo], settings: EvaluationSettings
) -> Figures:
    if not settings.streaming:
        return offline_figures(scored)
    truth = "boxes" if any(video.boxes is not None for video in videos) else "masks"
    return streaming_figures(scored, bundle.manifest.method, bundle.manifest.alarm, truth)


def _model_facts(plan: Plan, model: OpenModel, scored: Sequence[ScoredVideo]) -> ModelFacts:
    bundle, settings = model.bundle, plan.settings
    strides = {video.stride for video in scored}
    file = bundle.path / MANIFEST_NAME if plan.kind == "bundle" else plan.path
    return ModelFacts(
        kind=plan.kind,
        path=str(plan.path),
        sha256=describe_file(file).sha256 if file.is_file() else "",
        method=bundle.manifest.method.name,
        backend=model.backend.description,
        stride=strides.pop() if len(strides) == 1 else None,
        threshold_on=bundle.manifest.alarm.threshold_on if settings.streaming else None,
        description={name: value for name, value in describe_bundle(bundle).items() if value},
        cautions=cautions(bundle),
    )


def _dataset_facts(dataset: Dataset, scored: Sequence[ScoredVideo], settings: EvaluationSettings) -> DatasetFacts:
    normal = sum(video.is_normal for video in scored)
    return DatasetFacts(
        name=dataset.name,
        split=settings.split,
        normal_videos=normal,
        abnormal_videos=len(scored) - normal,
        camera_frames=sum(video.frame_count for video in scored),
        sampled_frames=sum(len(video.seconds) for video in scored),
        hours=sum(video.duration_seconds for video in scored) / SECONDS_PER_HOUR,
        seconds_between_samples=median_spacing(scored),
    )
