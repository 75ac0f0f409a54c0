"""The output folder of `stprompt-edge run`: five files that appear together, whole, at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from stprompt_edge.errors import UsageError
from stprompt_edge.files import PartialFile, PartialText, disk_errors, publish_all
from stprompt_edge.overwriting import Input, check_outputs
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.recording.events import EventsFile
from stprompt_edge.runtime.recording.report import Report
from stprompt_edge.runtime.recording.scores import ScoresFile
from stprompt_edge.runtime.recording.summary import summary_text
from stprompt_edge.runtime.recording.video import AnnotatedVideo
from stprompt_edge.runtime.records import AlarmChange, Detection, RunFacts, RunSummary

VIDEO_NAME = "annotated.mp4"
FILE_NAMES = ("scores.csv", "events.json", "report.html", "summary.json")  # and the video


class OutputFolder:
    """Writes scores.csv, events.json, annotated.mp4, report.html and summary.json.

    Use as a context manager. Until `finish` everything is in `*.partial` files; leaving without `finish` removes
    them and keeps the files of an earlier run. Memory stays bounded however long the run is.

    Args:
        path: the folder; made, with its parents, on entering.
        facts: heads every file.
        save_video: write annotated.mp4 too; then every camera frame must be given to `frame`.
        inputs: what the run reads; none of it is written over.

    Raises:
        UsageError: the folder cannot be made or written, or is a file, or an output is an input.
        EnvironmentFailure: disk full, here and in every method.
    """

    def __init__(self, path: Path, facts: RunFacts, *, save_video: bool, inputs: Sequence[Input] = ()) -> None:
        self._path = path
        self._inputs = inputs
        self._facts = facts
        self._save_video = save_video
        self._report = Report(facts)
        self._parts: list[PartialFile] = []
        self._made_folder = False
        self.warnings: tuple[str, ...] = ()  # what the files add to the run's own; known after `finish`

    def __enter__(self) -> OutputFolder:
        if self._path.exists() and not self._path.is_dir():
            raise UsageError(
                f"the output folder {self._path} is a file", remedy="name a folder, or a path that is free"
            )
        names = (*FILE_NAMES, VIDEO_NAME) if self._save_video else FILE_NAMES
        check_outputs(self._inputs, files=[self._path / name for name in names], folder=self._path)
        self._made_folder = not self._path.exists()
        try:
            with disk_errors(self._path):
                self._path.mkdir(parents=True, exist_ok=True)
            self._scores = ScoresFile(self._path / "scores.csv", self._facts)
            self._parts.append(self._scores)
            self._events = EventsFile(self._path / "events.json", self._facts)
            self._parts.append(self._events)
            self._video = AnnotatedVideo(self._path / VIDEO_NAME, self._facts)
            self._parts.append(self._video)
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._discard()

    def frame(self, frame: CameraFrame) -> None:
        """Takes every camera frame, in order; call only with `save_video`."""
        assert self._save_video, "frames are only taken with save_video"
        self._video.add_frame(frame)

    def detection(self, detection: Detection, frame: CameraFrame) -> None:
        """Takes each sampled frame's result, in order; it may come later than the frames after it.

        Args:
            detection: its numbers must be finite.
            frame: the sampled frame; its picture is copied if it is kept, and only then asked for.
        """
        assert math.isfinite(detection.score), detection
        assert np.isfinite(detection.class_probabilities).all(), detection
        self._scores.add(detection)
        self._report.add_detection(detection, frame)
        if self._save_video:
            self._video.add_detection(detection)

    def change(self, change: AlarmChange) -> None:
        """Takes what a detection changed, after that detection."""
        self._report.add_change(change)
        if change.kind == "closed":
            self._events.add(change.event)

    def finish(self, summary: RunSummary) -> tuple[Path, ...]:
        """Completes the files, also of an interrupted run, and makes them visible together.

        Returns:
            The paths written: five, or four without video (or without a single frame for it).
        """
        self._scores.close()
        self._events.close()
        self._video.close()
        self.warnings = tuple(self._video_warnings())
        summary = dataclasses.replace(summary, warnings=(*summary.warnings, *self.warnings))
        parts = [part for part in self._parts if part is not self._video or self._video.started]
        names = (*(part.target.name for part in parts), "report.html", "summary.json")
        for name, text in (
            ("report.html", self._report.html(summary)),
            ("summary.json", summary_text(self._facts, summary, names)),
        ):
            part = PartialText(self._path / name)
            self._parts.append(part)
            parts.append(part)
            part.write(text)
            part.close()
        publish_all(parts)
        self._made_folder = False
        return tuple(part.target for part in parts)

    def _video_warnings(self) -> list[str]:
        warnings = list(self._video.warnings)
        if not self._video.started and self._video.target.exists():
            warnings.append(f"{VIDEO_NAME} in this folder is of an earlier run: this run wrote no video")
        return warnings

    def _discard(self) -> None:
        for part in self._parts:
            part.discard()
        if self._made_folder:
            with contextlib.suppress(OSError):  # not empty: someone else put a file there
                self._path.rmdir()
