"""What a log file gets: whole lines, and of progress few of them."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from stprompt_edge import progress
from stprompt_edge.progress import ProgressLines, counter, open_console, part_of, plain_progress


def test_a_part_of_the_whole_is_told_piece_by_piece() -> None:
    told: list[tuple[str, float]] = []
    each = counter(part_of(lambda what, done: told.append((what, done)), 0.5, 0.75), "layers", 2)
    each()
    each()
    assert told == [("layers", 0.625), ("layers", 0.75)]


def lines_of(told: list[tuple[float, str]], until: float, tick: float = 0.5) -> list[str]:
    """What a log says of steps told at these seconds."""
    lines, printed, pending = ProgressLines(0.0), [], list(told)
    for now in np.arange(0.0, until + tick, tick):
        while pending and pending[0][0] <= now:
            lines.tell(pending[0][1], pending[0][1])
            pending.pop(0)
        line = lines.line(float(now))
        printed += [line] if line else []
    return printed


@pytest.mark.parametrize(
    ("told", "until", "expected"),
    [
        ([], 100.0, []),
        ([(0.0, "a")], 1.5, []),  # what is done at once needs no line
        ([(0.0, "a")], 20.0, ["[0:02] a"]),
        ([(0.0, "a")], 70.0, ["[0:02] a", "[0:32] a", "[1:02] a"]),
        ([(0.0, "a"), (1.0, "b"), (3.0, "c"), (20.0, "d")], 21.0, ["[0:02] b", "[0:04] c", "[0:20] d"]),
        ([(0.0, "a"), (200.0, "b")], 201.0,
         ["[0:02] a", *(f"[{s // 60}:{s % 60:02d}] a" for s in range(32, 200, 30)), "[3:20] b"]),
    ],
)  # fmt: skip
def test_when_a_line_of_progress_is_due(told: list[tuple[float, str]], until: float, expected: list[str]) -> None:
    assert lines_of(told, until) == expected


@pytest.mark.parametrize(("hours", "most"), [(0.01, 20), (1, 115), (10, 165)])
def test_steps_that_change_all_the_time_are_no_flood(hours: float, most: int) -> None:
    until = hours * 3600
    printed = lines_of([(second, f"video {second}") for second in range(int(until))], until)
    assert most / 2 < len(printed) <= most


def test_a_step_without_a_word_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHORTEST_PAUSE_S", 0.0)
    monkeypatch.setattr(progress, "_TICK_S", 0.01)
    printed = threading.Event()

    class Signalling(io.StringIO):
        def write(self, text: str) -> int:
            printed.set()
            return super().write(text)

    file = Signalling()
    with plain_progress(Console(file=file, width=40)) as tell:
        tell("export", "[b] of a name " + "long " * 20)
        assert printed.wait(10)  # while the step goes on
    assert file.getvalue().startswith("[0:00] [b] of a name long long")
    assert file.getvalue().count("\n") == 1  # not wrapped
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_log_is_neither_wrapped_nor_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        monkeypatch.setattr("sys.stderr", log)
        console = open_console(stderr=True)
        table = Table("file", "what")
        table.add_row("a" * 150, "b" * 150)
        console.print(table)
        console.print("word " * 60)
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert sum("a" * 150 in line and "b" * 150 in line for line in lines) == 1
    assert "word " * 60 in lines
