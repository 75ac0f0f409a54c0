"""Work shared out to other processes of this package, which end with this one, whatever ends it."""

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
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeWarning

_POLL_SECONDS = 0.2  # how soon a stop is noticed

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class StopFlag(Protocol):
    """`threading.Event`, or multiprocessing's."""

    def is_set(self) -> bool:
        """Has someone asked to stop?"""


def in_processes(
    jobs: Sequence[_Job],
    open_worker: Callable[[StopFlag], Callable[[_Job], _Result]],
    processes: int,
    *,
    name: str,
    remedy: str,
    stop: StopFlag | None = None,
) -> Iterator[tuple[_Job, _Result]]:
    """Each job with its result, in the order of completion; fewer than there are when stopped.

    What a job raises is raised here. However this ends, all work is told to stop, and is over when it has ended.

    Args:
        jobs: what to do; sent to the processes, as are the results from them.
        open_worker: called once in each process, before its first job; told when to stop, it gives what does a job.
        processes: that work at the same time; 1 for this process, without another.
        name: of the whole, for the error's message.
        remedy: against a killed process.
        stop: set it to end early.

    Raises:
        EnvironmentFailure: a process was killed.
    """
    stop = stop or threading.Event()
    if processes <= 1 or not jobs:
        work = open_worker(stop)
        yield from ((job, work(job)) for job in jobs if not stop.is_set())
        return
    context = multiprocessing.get_context("spawn")  # neither ONNX Runtime's threads nor CUDA survive a fork
    stopping = context.Event()
    theirs, ours = context.Pipe(duplex=False)  # nothing is sent: `theirs` ends when `ours` or this process does
    workers = min(processes, len(jobs))
    with theirs, ours, ProcessPoolExecutor(workers, context, _prepare, (open_worker, stopping, theirs)) as pool:
        with _signals_are_for_this_process_only():
            futures = {pool.submit(_do, job): job for job in jobs}
        for future in futures:  # the pool ends the other processes with SIGTERM, which they do not see
            future.add_done_callback(lambda future: ours.close() if _was_killed(future) else None)
        pending = set(futures)
        try:
            while pending and not stop.is_set():
                done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                yield from _results(futures, done)
                if any(map(_was_killed, done)) and not stop.is_set():
                    what = f"a process of the {name} was killed, perhaps for want of memory"
                    raise EnvironmentFailure(what, remedy=remedy)
        finally:  # also after Ctrl-C
            stopping.set()
            pool.shutdown(cancel_futures=True)
    if stop.is_set():
        yield from _results(futures, pending)


def _results(futures: dict[Future[_Result], _Job], done: set[Future[_Result]]) -> Iterator[tuple[_Job, _Result]]:
    ended = (future for future in done if not future.cancelled() and not _was_killed(future))
    yield from ((futures[future], future.result()) for future in ended)


def _was_killed(future: Future[Any]) -> bool:
    """Of a future that is done: did a process of the pool end before it was?"""
    return not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)


_worker: dict[str, Any] = {}  # what this process of the pool works with


def _prepare(open_worker: Callable[[StopFlag], Any], stopping: StopFlag, lifeline: Connection) -> None:
    _worker.update(open=open_worker, stopping=stopping)
    warnings.simplefilter("ignore", StpromptEdgeWarning)  # the process that began it all has shown it
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """Without this, killing the command would leave its processes behind, working beside the next run's."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _do(job: Any) -> Any:
    if "work" not in _worker:  # not in `_prepare`: what that raises never reaches the caller
        _worker["work"] = _worker["open"](_worker["stopping"])
    return _worker["work"](job)


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
