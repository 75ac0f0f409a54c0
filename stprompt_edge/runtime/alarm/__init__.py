"""From scores to alarms, and from alarms to events."""

from stprompt_edge.runtime.alarm.events import MAX_EVENT_FRAMES, EventLife
from stprompt_edge.runtime.alarm.hysteresis import AlarmSettings, Hysteresis

__all__ = ["MAX_EVENT_FRAMES", "AlarmSettings", "EventLife", "Hysteresis"]
