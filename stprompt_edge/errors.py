"""Our exceptions, and the exit code of each.

    StpromptEdgeError
    ├── UserError
    │   ├── UsageError       2   an option, a name or a file that the caller can correct
    │   ├── CheckFailed      3   a check that exists to stop us said no: bundle integrity, parity gate
    │   └── SourceError      4   a video or camera that cannot be opened or read
    └── EnvironmentFailure   5   this machine lacks something: a package, a backend, disk space, a server

Anything else that escapes is a bug and ends in a traceback. Ctrl-C ends with 130.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, ClassVar

from stprompt_edge.masking import masked


class StpromptEdgeError(Exception):
    """Base of every error we raise on purpose. Its texts are one line each, and secrets of addresses in them hidden.

    Args:
        what: what was wrong, got against expected, and where.
        remedy: what the reader should do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, remedy: str) -> None:
        self.what = masked(single_line(what))
        self.remedy = masked(single_line(remedy))
        super().__init__(self.what)

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it comes back whole from another process: exceptions are rebuilt without keyword arguments."""
        return _rebuilt, (type(self), self.what, self.remedy)

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.remedy}"


def _rebuilt(kind: type[StpromptEdgeError], what: str, remedy: str) -> StpromptEdgeError:
    return kind(what, remedy=remedy)


class UserError(StpromptEdgeError):
    """The input can be corrected by the caller."""


class UsageError(UserError):
    """An option, a name or a file that does not fit."""

    exit_code = 2


class CheckFailed(UserError):
    """A check refused an artefact: damaged bundle, parity missed."""

    exit_code = 3


class SourceError(UserError):
    """A video or camera cannot be opened or read."""

    exit_code = 4


class EnvironmentFailure(StpromptEdgeError):
    """The machine lacks something: a package, an execution provider, disk space, a server that answers."""

    exit_code = 5


class StpromptEdgeWarning(UserWarning):
    """What the reader should know although the work goes on; the command line shows it in one line."""


INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, the shell's convention
_NOT_ON_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # control, line ends, writing direction
_SHORTEST_STEM = 3  # letters of a beginning that may stand for the whole


def single_line(text: str) -> str:
    r"""A text for one line of a terminal or a log: what would end the line or steer the terminal is spelled out.

    >>> print(single_line("two\nlines \x1b[31m.mp4"))
    two\nlines \x1b[31m.mp4
    """
    return _NOT_ON_A_LINE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy that names the closest known name, then all of them.

    >>> nearest("ucf-crim", ["ucf-crime", "ubnormal"])
    "did you mean 'ucf-crime'? known: ubnormal, ucf-crime"
    """
    names = sorted(known)
    close = closest(name, names)
    hint = f"did you mean '{close}'? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, if one is near; case, spaces, `-` and `_` do not count.

    A beginning is near too, as `car` of `car on the pavement`.
    """
    wanted, names = folded(name), {folded(other): other for other in sorted(known, reverse=True)}
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    begun = [other for other in names if len(wanted) >= _SHORTEST_STEM and other.startswith(wanted)]
    return next((names[other] for other in (*near, *sorted(begun))), None)


def folded(text: str) -> str:
    """Two texts that only differ in case, spaces, `-` or `_` are the same to a reader."""
    return unicodedata.normalize("NFC", re.sub(r"[\s_-]+", "", text).casefold())
