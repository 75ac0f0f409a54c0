"""Standard output and error, which a full disk, a pipe that nobody reads or a narrow encoding must not break.

A command's work does not end because nobody can be told of it: after its first failure a stream is mute, and the exit
code says so at the end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO, cast

from stprompt_edge.errors import EnvironmentFailure

BROKEN_PIPE_EXIT_CODE = 141  # 128 + SIGPIPE, the shell's convention
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class GuardedStream:
    """A text stream whose `write` and `flush` never raise what the operating system says.

    Args:
        stream: to write to; None where the process was started with it closed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = io.TextIOWrapper(io.BytesIO(), "utf-8") if stream is None else stream
        self._closed = stream is None
        self.failure: OSError | None = None  # the first
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Writes, or does nothing after a failure; returns the number of characters."""
        if self._closed and self.failure is None:
            self.failure = OSError(errno.EBADF, "it is closed")
        if self.failure is None:
            with self._guarded():
                self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As `write`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hands over what was written, or does nothing after a failure."""
        if self.failure is None:
            with self._guarded():
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self.failure = exc
            with contextlib.suppress(OSError):  # else the interpreter tries again at its end to write what is left
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


@dataclass(frozen=True)
class StandardStreams:
    """Both, guarded."""

    out: GuardedStream
    err: GuardedStream

    def failure(self) -> EnvironmentFailure | None:
        """What to tell of standard output; None if all was written, or nobody wants to read it."""
        self.out.flush()
        found = self.out.failure
        if found is None or found.errno == errno.EPIPE:
            return None
        remedy = "send it to a place that is open and has room; files that were written stay"
        return EnvironmentFailure(f"cannot write to standard output: {found.strerror or found}", remedy=remedy)

    def exit_code(self, code: int) -> int:
        """The command's own, or that of the stream that failed; a closed standard error is a wish for silence."""
        self.out.flush()
        self.err.flush()
        failure = self.out.failure or self.err.failure
        if code or failure is None or (self.out.failure is None and failure.errno == errno.EBADF):
            return code
        return BROKEN_PIPE_EXIT_CODE if failure.errno == errno.EPIPE else EnvironmentFailure.exit_code


@contextlib.contextmanager
def guarded_streams() -> Iterator[StandardStreams]:
    """Puts guarded streams into `sys` while the body runs."""
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    streams = StandardStreams(GuardedStream(sys.stdout), GuardedStream(sys.stderr))
    sys.stdout, sys.stderr = cast(TextIO, streams.out), cast(TextIO, streams.err)
    try:
        yield streams
    finally:
        sys.stdout, sys.stderr = before


def print_json(text: str) -> None:
    """Prints JSON that parses to the same text whatever the encoding of standard output, which may lack characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = _NOT_ASCII.sub(lambda character: json.dumps(character[0])[1:-1], text)
    print(text, end="")


def _fill_closed_descriptors() -> None:
    """Else the next file that is opened gets the number of standard output, and libraries print into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
