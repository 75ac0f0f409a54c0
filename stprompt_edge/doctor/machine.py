"""What the probes look at: files of the system and child processes. Tests put another in its place."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from stprompt_edge.doctor.parsers import parse_failure

_PACKAGE_PARENT = Path(__file__).parents[2]
_READ_LIMIT_BYTES = 1 << 20  # the files read here are far smaller


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a child process ended."""

    output: str = ""  # standard output
    problem: str = ""  # empty when it exited with 0
    absent: bool = False  # there is no such program


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine we run on, with a deadline that all child processes share."""

    root: Path = Path("/")
    timeout_s: float = 20.0
    started: float = field(default_factory=time.monotonic)

    def read(self, path: str) -> str:
        """Text of a system file, without NUL bytes; empty when it is absent or unreadable."""
        try:
            with open(self.root / path.lstrip("/"), "rb") as file:
                return file.read(_READ_LIMIT_BYTES).decode("utf-8", "replace").replace("\0", "")
        except OSError:
            return ""

    def run(self, *command: str) -> Outcome:
        """Run a program until the deadline; its failure is the outcome's `problem`."""
        left_s = max(0.1, self.started + self.timeout_s - time.monotonic())
        # The child finds what we find: our sys.path is handed on, and it starts where the package lies.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=_PACKAGE_PARENT, env=environment,
            )  # fmt: skip
        except FileNotFoundError as exc:
            return Outcome(problem=str(exc), absent=True)
        except OSError as exc:
            return Outcome(problem=str(exc))
        try:
            stdout, stderr = process.communicate(timeout=left_s)
        except subprocess.TimeoutExpired:
            _abandon(process)
            return Outcome(problem=f"no answer within {self.timeout_s:g} s")
        return _outcome(process.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))

    def run_trial(self, *arguments: str) -> Outcome:
        """Run one of `stprompt_edge.doctor.trials` in a Python of its own."""
        return self.run(sys.executable, "-m", "stprompt_edge.doctor.trials", *arguments)


def _outcome(code: int, output: str, errors: str) -> Outcome:
    if code == 0:
        return Outcome(output=output)
    ended = f"crashed with signal {-code}" if code < 0 else f"exit code {code}"
    reason = parse_failure(errors) or parse_failure(output)
    if code < 0 or not reason:
        reason = f"{ended}: {reason}" if reason else ended
    return Outcome(output=output, problem=reason)


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """Kill without waiting for the end: a process stuck inside a broken driver cannot even be killed."""
    process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
