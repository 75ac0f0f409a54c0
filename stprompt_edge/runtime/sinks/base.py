"""What a run tells its sinks."""

from __future__ import annotations

from typing import Protocol

from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import AlarmChange, Detection


class Sink(Protocol):
    """Takes the results of one camera in order, on the thread that made them; a slow one delays the next frame."""

    def detection(self, detection: Detection, frame: CameraFrame) -> None:
        """The result of a sampled frame; it may come later than the frames after it.

        Args:
            detection: with its alarm, and boxes where they were wanted.
            frame: the sampled frame; it is the sink's to read, not to change.
        """

    def change(self, change: AlarmChange) -> None:
        """What that detection changed."""
