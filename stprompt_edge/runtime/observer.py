"""One camera on one backend: a track whose requests are answered at once, its alarm, and boxes while they are wanted.

This is what `run`, `evaluate`, `bench`, the parity gate and the Python interface drive. Where the backend's device
preprocesses frames itself, it does all up to the heads in one launch, or up to the picked windows' embeddings where the
rest is the host's: with a lookahead, and for the methods other than stprompt.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.alarm import AlarmSettings, Hysteresis
from stprompt_edge.runtime.backends.base import Backend, JudgedFrame, WatchedFrame
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import Localization
from stprompt_edge.runtime.timing import StageTimer
from stprompt_edge.runtime.track import (
    EmbeddedFrame,
    EncodeRequest,
    FrameEmbeddings,
    JudgedWindows,
    Track,
    TrackedFrame,
)

LocalizeWhen = Literal["alarm", "always", "never"]


class Observer:
    """Sampled frames of one camera in, detections with alarm and boxes out.

    Args:
        bundle: model and settings.
        backend: the bundle's graphs, open; may serve many observers.
        alarm: thresholds; None for the bundle's.
        localize: every frame, only while the alarm is on, or none unless `localize` is called.
        lookahead: see `Track`.
        device_frames: preprocess frames on the backend's device where it can; False for the CPU's definition itself.
        offline: no frame is ever localized afterwards, so that a long lookahead holds embeddings alone.
        batcher: of the backend, in place of one of its own.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        alarm: AlarmSettings | None = None,
        localize: LocalizeWhen = "alarm",
        lookahead: int | None = 0,
        device_frames: bool = True,
        offline: bool = False,
        batcher: Batcher | None = None,
    ) -> None:
        self.timer = StageTimer()
        self.alarm = Hysteresis(alarm or AlarmSettings.from_bundle(bundle.manifest.alarm))
        self._localize: LocalizeWhen = localize
        self._keeps_images = not offline
        self._batcher = batcher or Batcher(backend)
        self._track = Track(
            bundle, backend.heads, lookahead=lookahead, keeps_images=not offline, measure=self.timer.measure
        )
        self._stream = backend.open_stream(lookahead=self._track.lookahead) if device_frames else None
        self._preprocess = Preprocessor(bundle.preprocessing)
        self._on_device: deque[CameraFrame] = deque()  # given to the device, not come back
        self.on_device = self._stream is not None  # frames are preprocessed there

    def push(self, frame: CameraFrame) -> list[TrackedFrame]:
        """Take the next sampled frame; give the detections that it completes: none at first, then one each."""
        with self.timer.measure("step"):
            self._track.expects_boxes = self._wants_boxes()
            if self._stream is not None:
                self._on_device.append(frame)
                with self.timer.measure("watch"):
                    watched = self._stream.push(frame.pixels)
                found = [] if watched is None else self._take_watched(watched)
            else:
                request = self._track.push(frame)
                found = [] if request is None else self._track.take(self._encode(request))
            return [self._judge(tracked) for tracked in found]

    def flush(self) -> list[TrackedFrame]:
        """The stream has ended: the detections that were held back."""
        self._track.expects_boxes = self._wants_boxes()
        found: list[TrackedFrame] = []
        watched = self._stream.flush() if self._stream is not None else None
        if watched is not None:
            found = self._take_watched(watched)
        request = self._track.flush()
        if request is not None:
            found = self._track.take(self._encode(request))
        judged = [self._judge(tracked) for tracked in found]
        return judged + [self._judge(tracked) for tracked in self._track.finish()]

    def localize(self, tracked: TrackedFrame) -> Localization:
        """Where in a frame the anomaly is, whatever the alarm says; such a frame may cost a second pass.

        Args:
            tracked: given out by this observer.
        """
        request = self._track.request_to_localize(tracked)
        return self._track.localize(tracked, None if request is None else self._encode(request))

    def _wants_boxes(self) -> bool:
        return self._localize == "always" or (self._localize == "alarm" and self.alarm.on)

    def _judge(self, tracked: TrackedFrame) -> TrackedFrame:
        """What follows from a score: the alarm, and where."""
        detection = tracked.detection
        alarm = self.alarm.update(detection.seconds, detection.score)
        localization = self.localize(tracked) if self._wants_boxes() else None
        return replace(tracked, detection=replace(detection, alarm=alarm, localization=localization))

    def _encode(self, request: EncodeRequest) -> FrameEmbeddings:
        with self.timer.measure("encode"):
            return self._batcher.encode([request])[0]

    def _take_watched(self, watched: WatchedFrame | JudgedFrame) -> list[TrackedFrame]:
        """A frame whose windows the device has picked and encoded, and perhaps judged."""
        assert self._stream is not None
        frame = self._on_device.popleft()
        embedded = EmbeddedFrame(
            index=frame.index,
            seconds=frame.seconds,
            size_wh=frame.size_wh,
            x_clip_D=watched.frame_D,
            image=(lambda: self._prepared(frame)) if self._keeps_images else None,
        )
        if self._track.expects_boxes:
            with self.timer.measure("encode"):
                located = self._stream.locate()
            embedded = replace(embedded, fine_ND=located.fine[0], coarse=located.coarse[0])
        if isinstance(watched, JudgedFrame):
            return [self._track.add_judged(embedded, watched.features_D, watched.heads)]
        windows = JudgedWindows(selection=watched.selection, embeddings_KD=watched.selected_KD)
        return self._track.add(replace(embedded, windows=windows))

    def _prepared(self, frame: CameraFrame) -> NDArray[np.float32]:
        with self.timer.measure("preprocess"):
            return self._preprocess(frame.image_bgr).image
