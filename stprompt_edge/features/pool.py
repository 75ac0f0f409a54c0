"""Extracts videos one after the other, in this process or in several; stops between two frames when told to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure, SourceError, StpromptEdgeWarning
from stprompt_edge.features.backend import Engine, open_engine
from stprompt_edge.features.files import extract_video, save_features
from stprompt_edge.features.settings import ExtractionSettings
from stprompt_edge.files import disk_errors

_POLL_SECONDS = 0.2  # how soon a stop is noticed


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


class StopFlag(Protocol):
    """`threading.Event`, or multiprocessing's."""

    def is_set(self) -> bool:
        """Has someone asked to stop?"""


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
    yield from _in_processes(jobs, bundle, replace(settings, backend=engine.name, pretrained=pretrained), stop)


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


def _in_processes(
    jobs: Sequence[Job], bundle: Bundle, settings: ExtractionSettings, stop: threading.Event
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")  # neither ONNX Runtime's threads nor CUDA survive a fork
    stopping = context.Event()
    theirs, ours = context.Pipe(duplex=False)  # nothing is sent: `theirs` ends when `ours` or this process does
    workers = min(settings.processes, len(jobs))
    given = (bundle, settings, stopping, theirs)
    with theirs, ours, ProcessPoolExecutor(workers, context, _prepare_worker, given) as pool:
        with _signals_are_for_this_process_only():
            pending = {pool.submit(_extract_in_worker, job) for job in jobs}
        for future in pending:  # the pool ends the other processes with SIGTERM, which they do not see
            future.add_done_callback(lambda future: ours.close() if _was_killed(future) else None)
        try:
            while pending and not stop.is_set():
                done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                yield from _outcomes(done)
                if any(map(_was_killed, done)) and not stop.is_set():
                    raise EnvironmentFailure(
                        "a process of the extraction was killed, perhaps for want of memory",
                        remedy="run the same command again with fewer --processes: it goes on where it stopped",
                    )
        finally:
            stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
    if stop.is_set():
        yield from _outcomes(pending)


def _outcomes(done: set[Future[Outcome | None]]) -> Iterator[Outcome]:
    ended = (future for future in done if not future.cancelled() and not _was_killed(future))
    yield from (outcome for future in ended if (outcome := future.result()) is not None)


def _was_killed(future: Future[Outcome | None]) -> bool:
    """Of a future that is done: did a process of the pool end before it was?"""
    return not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)


_worker: dict[str, Any] = {}  # what this process of the pool extracts with


def _prepare_worker(bundle: Bundle, settings: ExtractionSettings, stopping: StopFlag, lifeline: Connection) -> None:
    _worker.update(bundle=bundle, settings=settings, stopping=stopping)
    warnings.simplefilter("ignore", StpromptEdgeWarning)  # the process that opened the first engine has shown it
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """Without this, killing the command would leave its processes behind, extracting beside the next run's."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _extract_in_worker(job: Job) -> Outcome | None:
    settings: ExtractionSettings = _worker["settings"]
    if "engine" not in _worker:  # not in `_prepare_worker`: what that raises never reaches the caller
        _worker["engine"] = open_engine(_worker["bundle"], settings, 1)
    return _extract(job, _worker["bundle"], _worker["engine"], settings, _worker["stopping"], lambda: None)


@contextmanager
def _signals_are_for_this_process_only() -> Iterator[None]:
    """Processes and threads started inside never see Ctrl-C or SIGTERM, from their first moment; they are told to stop.

    A terminal sends the former to every process of a command, systemd and Slurm the latter.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
