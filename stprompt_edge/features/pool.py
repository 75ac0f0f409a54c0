"""Extracts videos one after the other, in this process or in several; stops between two frames when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import SourceError
from stprompt_edge.features.backend import Engine, open_engine
from stprompt_edge.features.files import save_features
from stprompt_edge.features.settings import ExtractionSettings
from stprompt_edge.features.video import extract_video
from stprompt_edge.files import disk_errors
from stprompt_edge.processes import StopFlag, in_processes


@dataclass(frozen=True, kw_only=True)
class Job:
    """One video and where its features go."""

    name: str
    video: Path
    target: Path
    fps: float | None = None  # of an image folder


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job."""

    name: str
    unreadable: str | None = None  # why; None when its features were written
    warnings: tuple[str, ...] = ()  # what its source said: truncated, damaged


class _Stopped(Exception):
    """Ends a video in the middle; nothing of it is written."""


def extract_jobs(
    jobs: Sequence[Job],
    bundle: Bundle,
    settings: ExtractionSettings,
    engine: Engine,
    *,
    stop: threading.Event,
    on_frame: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Write the features of each job, in the order of completion; fewer outcomes than jobs when stopped.

    Args:
        jobs: what to do.
        bundle: the encoder.
        settings: how.
        engine: opened for these settings; with several processes it is closed, and each opens its own.
        stop: set it to end between two frames.
        on_frame: called for each sampled frame; only with a single process.

    Raises:
        EnvironmentFailure: disk full, or a process was killed. Also as `open_engine`.
    """
    if settings.processes == 1:
        for job in jobs:
            outcome = _extract(job, bundle, engine, settings, stop, on_frame)
            if outcome is None:
                return
            yield outcome
        return
    engine.backend.close()
    pretrained = settings.pretrained if engine.name == "torch" else None  # `auto` may have come to graphs
    open_worker = partial(_open_worker, bundle, replace(settings, backend=engine.name, pretrained=pretrained))
    remedy = "run the same command again with fewer --processes: it goes on where it stopped"
    for _, outcome in in_processes(jobs, open_worker, settings.processes, name="extraction", remedy=remedy, stop=stop):
        if outcome is not None:
            yield outcome


def _extract(
    job: Job,
    bundle: Bundle,
    engine: Engine,
    settings: ExtractionSettings,
    stop: StopFlag,
    on_frame: Callable[[], None],
) -> Outcome | None:
    """None when stopped."""

    def next_frame() -> None:
        if stop.is_set():
            raise _Stopped
        on_frame()

    try:
        if stop.is_set():
            raise _Stopped
        features = extract_video(
            job.video, bundle, engine.backend, origin=engine.origin, keep_windows=settings.keep_windows,
            batch=engine.batch, fps=job.fps, on_frame=next_frame,
        )  # fmt: skip
    except SourceError as exc:
        return Outcome(name=job.name, unreadable=exc.what)
    except _Stopped:
        return None
    with disk_errors(job.target):
        job.target.parent.mkdir(parents=True, exist_ok=True)
    save_features(job.target, features)
    return Outcome(name=job.name, warnings=features.warnings)


def _open_worker(bundle: Bundle, settings: ExtractionSettings, stop: StopFlag) -> Callable[[Job], Outcome | None]:
    engine = open_engine(bundle, settings, 1)
    return lambda job: _extract(job, bundle, engine, settings, stop, lambda: None)
