"""Where people read, and the progress of named steps that most commands show there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from stprompt_edge.progress import open_console, plain_progress

ETA_SECONDS = 3600.0  # the time left follows the speed of so long: a step may take minutes, and rich's 30 s saw none

console = open_console(stderr=True)  # progress and tables for people; stdout is for --json


@contextmanager
def live_steps(console: Console = console) -> Iterator[Callable[[str, float], None]]:
    """A bar over named steps; yields a function of what is done now and the fraction done."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    if not console.is_terminal:
        with plain_progress(console) as tell:
            yield lambda what, done: tell(what, f"{done:3.0%} {what}")
        return
    bar = Progress(
        BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
        speed_estimate_period=ETA_SECONDS,
    )  # fmt: skip
    with bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)
