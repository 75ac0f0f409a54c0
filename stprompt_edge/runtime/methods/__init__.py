"""One file per method: how it scores, and how it localizes."""

from __future__ import annotations

from collections.abc import Callable

from stprompt_edge.bundle import Bundle, MethodName
from stprompt_edge.runtime.methods.base import Heads, Method
from stprompt_edge.runtime.methods.mil_ranking import open_mil_ranking
from stprompt_edge.runtime.methods.stprompt import open_stprompt
from stprompt_edge.runtime.methods.zero_shot import open_zero_shot

__all__ = ["open_method"]

_METHODS: dict[MethodName, Callable[[Bundle, Heads], Method]] = {
    "stprompt": open_stprompt,
    "mil-ranking": open_mil_ranking,
    "zero-shot": open_zero_shot,
}


def open_method(bundle: Bundle, heads: Heads) -> Method:
    """The bundle's method, judging with its heads graph.

    Args:
        bundle: names the method.
        heads: its heads graph, for example `Backend.heads`.
    """
    return _METHODS[bundle.manifest.method.name](bundle, heads)
