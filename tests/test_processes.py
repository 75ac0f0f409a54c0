"""Work in other processes: its results, its errors, and that nothing of it is left, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.processes import StopFlag, in_processes

ROOT = Path(__file__).resolve().parents[1]
MANY = [0] * 1000  # more than any test lets happen
PATIENCE_S = 60  # a busy machine


def open_worker(stop: StopFlag) -> Callable[[int], tuple[int, int]]:
    """Squares a number; 13 is bad luck, and a negative one works until it is told to stop."""

    def work(number: int) -> tuple[int, int]:
        if number == 13:
            raise ValueError("13")
        deadline = time.monotonic() + PATIENCE_S
        while number < 0 and not stop.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return number * number, os.getpid()

    return work


def started(jobs: list[int] | range, processes: int, stop: StopFlag | None = None) -> Iterator[tuple[int, tuple]]:
    return in_processes(jobs, open_worker, processes, name="squaring", remedy="square less", stop=stop)


@pytest.mark.parametrize(("jobs", "processes"), [(0, 1), (0, 2), (1, 2), (5, 1), (5, 2)])
def test_every_job_has_its_result(jobs: int, processes: int) -> None:
    found = dict(started(range(jobs), processes))
    assert {job: result for job, (result, _) in found.items()} == {job: job * job for job in range(jobs)}
    assert all((pid == os.getpid()) == (processes == 1) for _, pid in found.values())


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_job_raises_is_raised_here_and_ends_the_others(processes: int) -> None:
    with pytest.raises(ValueError, match="13"):
        list(started([13, -1] if processes > 1 else [13], processes))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_ends_it_early(processes: int) -> None:
    stop, found = threading.Event(), []
    for job, _ in started(MANY, processes, stop):
        found.append(job)
        stop.set()
    assert 1 <= len(found) < len(MANY)
    assert multiprocessing.active_children() == []


def test_who_stops_listening_ends_it() -> None:
    results = started([0, -1, *MANY], 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_told_in_one_line() -> None:
    results = started([0, -1, -1], 2)
    next(results)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(EnvironmentFailure) as caught:
        next(results)
    assert caught.value.what == "a process of the squaring was killed, perhaps for want of memory"
    assert caught.value.remedy == "square less"
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_command_that_ends(number: int) -> None:
    program = (
        "from tests.test_processes import started\n"
        "if __name__ == '__main__':\n"
        "    for _, (_, pid) in started([0, 1, 2, 3, -1, -1], 2): print(pid, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        workers = {int(command.stdout.readline()) for _ in range(4)}
        if number == signal.SIGKILL:
            command.kill()
        else:
            os.killpg(command.pid, number)  # as a terminal, systemd and Slurm do
        _, stderr = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == -number
    assert stderr.count("Traceback") <= 1  # of the command alone
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
