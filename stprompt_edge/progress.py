"""Progress of work in steps: who is told, and what is shown of it where there is no terminal, as in a log file."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from stprompt_edge.errors import single_line

UNLIMITED = 10_000  # columns
SHORTEST_PAUSE_S = 2.0  # between two lines; what is done sooner needs none
LONGEST_SILENCE_S = 30.0
PAUSE_OF_ELAPSED = 1 / 20  # a run of hours says less often what it does: 100 lines in the first hour at most
_TICK_S = 0.5

Tell = Callable[[str, str], None]  # told the step, and what to show of it
StepProgress = Callable[[str, float], None]  # told what is done now, and the fraction of the whole that is done


def part_of(progress: StepProgress, start: float, stop: float) -> StepProgress:
    """Whom to tell the fraction of one part, from `start` to `stop` of the whole."""
    return lambda what, done: progress(what, start + (stop - start) * done)


def counter(progress: StepProgress, what: str, total: int) -> Callable[[], None]:
    """What is called after each of `total` equal pieces."""
    pieces = itertools.count(1)
    return lambda: progress(what, next(pieces) / total)


def one_line(text: str, style: str = "") -> Text:
    """A text with names in it, which may hold line ends and the terminal's control sequences."""
    return Text(single_line(text), style)


def open_console(*, stderr: bool) -> Console:
    """Without a terminal nothing is wrapped or cut: 80 columns would be a guess. Brackets in names are no markup."""
    console = Console(stderr=stderr, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


class ProgressLines:
    """Says when a line is due: soon after a step began, and after a long silence inside one.

    Args:
        now_s: the start, of a clock that never goes back.
    """

    def __init__(self, now_s: float) -> None:
        self._start_s = self._last_s = now_s
        self._shown_step: str | None = None
        self._current: tuple[str, str] | None = None

    def tell(self, step: str, text: str) -> None:
        """What is done now; cheap enough for every frame."""
        self._current = step, text

    def line(self, now_s: float) -> str | None:
        """The line to print now, if one is due; each is given once."""
        if self._current is None or not self._is_due(self._current[0], now_s):
            return None
        self._last_s = now_s
        self._shown_step, text = self._current
        minutes, seconds = divmod(int(now_s - self._start_s), 60)
        return f"[{minutes}:{seconds:02d}] {text}"

    def _is_due(self, step: str, now_s: float) -> bool:
        silence_s = now_s - self._last_s
        pause_s = max(SHORTEST_PAUSE_S, (now_s - self._start_s) * PAUSE_OF_ELAPSED)
        return silence_s >= (pause_s if step != self._shown_step else max(pause_s, LONGEST_SILENCE_S))


@contextmanager
def plain_progress(console: Console) -> Iterator[Tell]:
    """Prints lines of progress while the body runs, also while one step of it takes minutes; yields whom to tell."""
    lines, ended = ProgressLines(time.monotonic()), threading.Event()

    def watch() -> None:
        while not ended.wait(_TICK_S):
            line = lines.line(time.monotonic())
            if line is not None:
                console.print(one_line(line), soft_wrap=True)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield lines.tell
    finally:
        ended.set()
        thread.join()
