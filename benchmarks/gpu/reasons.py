"""Why something was not measured; without torch, for programs that run beside it."""

from __future__ import annotations


class NotMeasured(Exception):
    """Something is missing, or there is no time for it; the message is the reason that the report shows."""


def first_line(exc: BaseException) -> str:
    """At most 300 characters of it."""
    return (str(exc).strip().splitlines() or [repr(exc)])[0][:300]
