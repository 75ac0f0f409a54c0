"""One file per engine; `open_backend` picks."""

from __future__ import annotations

from stprompt_edge.runtime.backends.opening import BACKENDS, Choice, open_backend

__all__ = ["BACKENDS", "Choice", "open_backend"]
