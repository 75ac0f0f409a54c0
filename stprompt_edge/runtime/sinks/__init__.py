"""Where detections and alarms go besides the output folder."""

from stprompt_edge.runtime.sinks.base import Sink

__all__ = ["Sink"]
