"""Ctrl-C and SIGTERM as a wish that the work can look at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop(threading.Event):
    """Set by a signal, and remembers which."""

    signal = 0

    @property
    def exit_code(self) -> int:
        """Of a process that ended because of it: the shell's convention."""
        return 128 + self.signal


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask for an orderly end; a second one ends at once."""
    stop = Stop()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.signal = number
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
