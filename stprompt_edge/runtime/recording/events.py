"""events.json: the source and its events, written event by event so that a long watch does not fill the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stprompt_edge.files import PartialText
from stprompt_edge.runtime.recording.plain_json import json_text
from stprompt_edge.runtime.records import Event, FrameBoxes, RunFacts


class EventsFile(PartialText):
    """`{"source": ..., "events": [...]}`, one event a line.

    Raises:
        EnvironmentFailure, UsageError: the file cannot be written (`files.disk_errors`), here and in every method.
    """

    def __init__(self, target: Path, facts: RunFacts) -> None:
        super().__init__(target)
        self._separator = "\n"
        self.write(f'{{"source": {json_text(facts.source.name)},\n"events": [')

    def add(self, event: Event) -> None:
        """Appends one event with the boxes of its frames, as [x0, y0, x1, y1, probability]."""
        self.write(self._separator + json_text(_plain_event(event)))
        self._separator = ",\n"

    def close(self) -> None:
        """Ends the list; the file is complete JSON from here on."""
        self.write("\n]}\n")
        super().close()


def _plain_event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "camera": event.camera,
        "started_at": event.started_at.isoformat(timespec="milliseconds"),
        "start_frame": event.start_frame,
        "start_seconds": event.start_seconds,
        "end_frame": event.end_frame,
        "end_seconds": event.end_seconds,
        "peak_frame": event.peak_frame,
        "peak_seconds": event.peak_seconds,
        "peak_score": event.peak_score,
        "top_class": event.top_class,
        "top_probability": event.top_probability,
        "frames": [_plain_frame(frame) for frame in event.frames],
    }


def _plain_frame(frame: FrameBoxes) -> dict[str, Any]:
    boxes = [(box.x0, box.y0, box.x1, box.y1, box.probability) for box in frame.boxes]
    return {"frame": frame.frame_index, "seconds": frame.seconds, "score": frame.score, "boxes": boxes}
