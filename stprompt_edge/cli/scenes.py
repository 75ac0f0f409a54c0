"""`scenes`: where its work is done now."""

from __future__ import annotations

from stprompt_edge.errors import UsageError


def scenes() -> None:
    """Scenes are rendered in the repository."""
    what = "`stprompt-edge scenes` has become `python -m demo.scenes`, with the same options"
    raise UsageError(what, remedy="type that in a clone of the repository")
