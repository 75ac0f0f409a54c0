"""Video anomaly detection and localization from video-level labels, from training to the edge.

From Python: `import stprompt_edge as se`, then `se.load("bundle")`; see `stprompt_edge.api`.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stprompt_edge.api import Model, Scores, Stream, load
    from stprompt_edge.runtime.records import AlarmChange, Detection, Event
    from stprompt_edge.runtime.sinks import Sink

__all__ = ["AlarmChange", "Detection", "Event", "Model", "Scores", "Sink", "Stream", "load"]

__version__ = "0.1.0"

# Nothing reports on its own. Both libraries look when they are imported, which is after this; what the user has set
# stays. ONNX Runtime 1.32 writes a device id below ~/.cache, and its `disable_telemetry_events` comes too late.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")

_ROOMS = {**dict.fromkeys(("AlarmChange", "Detection", "Event"), "runtime.records"), "Sink": "runtime.sinks"}


def __getattr__(name: str) -> object:
    """The names above, imported when they are first used: the command line starts without them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found: object = getattr(importlib.import_module(f"{__name__}.{_ROOMS.get(name, 'api')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
