"""From a path to a model that scores videos, in this process or in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from stprompt_edge.bundle import ENCODER_NAMES, MANIFEST_NAME, Bundle, load_bundle
from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.evaluation.records import EvaluationSettings
from stprompt_edge.evaluation.scoring import OpenModel, Outcome, outcome_of
from stprompt_edge.processes import StopFlag, in_processes
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.backends.opening import open_backend


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every process needs to open the model for itself."""

    kind: str  # bundle or checkpoint
    path: Path
    settings: EvaluationSettings
    bundle: Bundle | None = None  # where it is loaded already

    def in_processes(self, videos: Sequence[LabelledVideo]) -> bool:
        """Will these videos be scored in several processes?"""
        settings = self.settings
        return settings.processes > 1 and len(videos) > 1 and settings.features is None

    def open_for(self, videos: Sequence[LabelledVideo]) -> OpenModel:
        """Open the model as it will score these videos, so that what is named afterwards is what scored.

        Raises:
            As `open`.
        """
        as_workers = self.kind == "bundle" and self.in_processes(videos)  # a checkpoint has one backend only
        return self.open(threads=1 if as_workers else None)

    def open(self, threads: int | None = None) -> OpenModel:
        """Open the model.

        Args:
            threads: of one inference, on the CPU; None for all cores, or the device that the runtime would pick.

        Raises:
            As `load_bundle` and the backends; of a checkpoint as `load_checkpoint` and `load_clip`.
        """
        if self.kind == "checkpoint":
            from stprompt_edge.evaluation.checkpoints import open_checkpoint  # torch

            return open_checkpoint(self.path, self.settings, threads)
        bundle = self.bundle or load_bundle(self.path)
        return OpenModel(bundle=bundle, backend=_bundle_backend(bundle, self.settings.precision, threads))


def plan_for(path: Path, settings: EvaluationSettings) -> Plan:
    """What a path is: a bundle's folder, or a checkpoint's file.

    Raises:
        UsageError: it is neither, or the settings do not fit its kind.
    """
    if settings.fps is not None and settings.features is not None:
        raise UsageError("--fps is for videos; --features have times of their own", remedy="leave one of the two out")
    if (path / MANIFEST_NAME).is_file():
        if settings.features is not None or settings.pretrained is not None:
            what = "--features and --pretrained are for checkpoints; a bundle has its own encoder"
            raise UsageError(what, remedy="leave them out, or give the checkpoint")
        return Plan(kind="bundle", path=path, settings=settings)
    if not path.is_file():
        found = "a folder without bundle.json" if path.is_dir() else "not there"
        raise UsageError(
            f"{path} is neither a bundle nor a checkpoint: it is {found}",
            remedy="give the folder that `export` wrote, or the file that `train` wrote (best.safetensors)",
        )
    if settings.streaming:
        raise UsageError(
            f"{path} is not a bundle, and only bundles run as at the edge",
            remedy=f"export it first: stprompt-edge export {path} --out BUNDLE",
        )
    if settings.precision is not None:
        raise UsageError("--precision is for bundles; a checkpoint is scored in fp32", remedy="leave it out")
    return Plan(kind="checkpoint", path=path, settings=settings)


def score_videos(
    plan: Plan, model: OpenModel, videos: Sequence[LabelledVideo], progress: StepProgress
) -> Iterator[tuple[LabelledVideo, Outcome]]:
    """Every video with its scores, or with the reason why it has none, in the order of completion."""
    if not plan.in_processes(videos):
        scorer = model.scorer(plan.settings)
        for done, video in enumerate(videos):
            report = _fraction_reporter(progress, video.name, done, len(videos))
            report(0.0)
            yield video, outcome_of(lambda video=video, report=report: scorer(video, report))  # type: ignore[misc]
        return
    own = model.bundle if plan.kind == "bundle" else None  # a checkpoint's is opened with its weights
    open_worker = partial(_open_worker, replace(plan, bundle=own))
    scored = in_processes(
        videos, open_worker, plan.settings.processes, name="evaluation", remedy="use fewer --processes"
    )
    for done, (video, outcome) in enumerate(scored, 1):
        progress(video.name, done / len(videos))
        yield video, outcome


def _open_worker(plan: Plan, stop: StopFlag) -> Callable[[LabelledVideo], Outcome]:
    scorer = plan.open(threads=1).scorer(plan.settings)

    def stop_if_told(done: float) -> None:
        if stop.is_set():
            raise KeyboardInterrupt

    return lambda video: outcome_of(lambda: scorer(video, stop_if_told))


def _bundle_backend(bundle: Bundle, precision: str | None, threads: int | None) -> Backend:
    if precision is None and threads is None:
        return open_backend("auto", bundle).backend  # what `run` takes
    return OnnxBackend(bundle, precision=_known(precision), threads=threads)


def _known(precision: str | None) -> str | None:
    if precision is not None and precision not in ENCODER_NAMES:
        raise UsageError(f"unknown precision '{precision}'", remedy=nearest(precision, ENCODER_NAMES))
    return precision


def _fraction_reporter(progress: StepProgress, name: str, done: int, total: int) -> Callable[[float], None]:
    return lambda fraction: progress(name, (done + fraction) / total)
