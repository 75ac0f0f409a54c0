"""One camera's sampled frames in, detections out: preprocess, motion, encode, SA², adapter, heads, alarm, localize.

The order of a step depends on the motion kind: `pixel` picks K windows before encoding, so only those are encoded;
`feature` encodes all fine windows and picks afterwards. A method that judges all windows (K = 49) has them encoded in
order. Memory is bounded: a frame is held for the motion's delay and the adapter's lookahead, no longer.

Where the backend's device preprocesses frames itself, it does all up to the heads in one launch, or up to the picked
windows' embeddings where the rest is the host's: with a lookahead, and for the other methods.

Suffixes: D width of the embedding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.preprocess import PreprocessedFrame, Preprocessor
from stprompt_edge.runtime.alarm import Alarm, AlarmSettings
from stprompt_edge.runtime.backends.base import Backend, JudgedFrame, WatchedFrame
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.localize import make_localizer
from stprompt_edge.runtime.motion import (
    SecondDifference,
    Selection,
    feature_motion,
    pixel_motion,
    select_windows,
)
from stprompt_edge.runtime.records import Detection, Localization
from stprompt_edge.runtime.scoring import Score, make_scorer, score_of_heads
from stprompt_edge.runtime.temporal import StreamingKernel
from stprompt_edge.runtime.timing import StageTimer

LocalizeWhen = Literal["alarm", "always", "never"]

_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class DetectedFrame:
    """A detection with the camera frame that it is about."""

    detection: Detection
    frame: CameraFrame


@dataclass
class _Step:
    """A sampled frame on its way through the stages."""

    frame: CameraFrame
    preprocessed: PreprocessedFrame | None = None  # None while only the device has needed it
    x_clip_D: NDArray[np.float32] | None = None
    fine: NDArray[np.float32] | None = None  # [49, D] when all fine windows were encoded
    coarse: NDArray[np.float32] | None = None  # [16, D] when all coarse windows were encoded

    def forget_picture(self) -> None:
        """What is still to come needs the embedding of the frame, no more."""
        self.frame = CameraFrame(index=self.frame.index, seconds=self.frame.seconds, image_bgr=_NO_PICTURE)
        self.preprocessed = self.fine = self.coarse = None


class Detector:
    """A stream of sampled frames of one camera.

    Args:
        bundle: model and settings.
        backend: the bundle's graphs, open; may serve many detectors.
        alarm: thresholds; None for the bundle's.
        localize: in every frame, only while the alarm is on, or never.
        lookahead: later sampled frames that the adapter may use, so detections come that much later; None for all
            that count, which gives the offline scores.
        device_frames: preprocess frames on the backend's device where it can; False for the CPU's definition itself.
        localize_also: is this sampled frame to be localized whatever `localize` says? It costs such a frame a second
            pass through the encoder, so that its score stays what it would have been.
        on_features: told the embedding and the vector to smooth of each sampled frame, in order; see `Scorer`.
        keep_pictures: False where nobody draws the frames that come back, or localizes them: theirs are then empty, and
            a long lookahead holds embeddings instead of pictures.
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
        localize_also: Callable[[CameraFrame], bool] = lambda frame: False,
        on_features: Callable[[NDArray[np.float32], NDArray[np.float32]], None] = lambda x_clip_D, features: None,
        keep_pictures: bool = True,
    ) -> None:
        assert keep_pictures or localize == "never"  # what is localized later is encoded again
        self._method = bundle.manifest.method
        self._class_names = bundle.vocabulary.class_names
        self._geometry = bundle.geometry
        self._backend = backend
        self._localize: LocalizeWhen = localize
        self._localize_also = localize_also
        self._on_features = on_features
        self._keep_pictures = keep_pictures
        self._preprocess = Preprocessor(bundle.preprocessing)
        self._difference = SecondDifference(self._method.motion_timing)
        self._scorer = make_scorer(bundle, backend)
        self._kernel = StreamingKernel(self._scorer.width, self._method.sigma, lookahead)
        self._localizer = make_localizer(bundle, backend)
        self._stream = backend.open_stream(lookahead=self._kernel.lookahead) if device_frames else None
        self._all_fine = np.arange(bundle.geometry.fine_count, dtype=np.int64)
        self._all_coarse = np.arange(bundle.geometry.coarse_count * self._localizer.uses_coarse, dtype=np.int64)
        self._awaiting_motion: deque[_Step] = deque()
        self._awaiting_context: deque[_Step] = deque()
        self.on_device = self._stream is not None  # frames are preprocessed there
        self.alarm = Alarm(alarm or AlarmSettings.from_bundle(bundle.manifest.alarm))
        self.timer = StageTimer()

    def push(self, frame: CameraFrame) -> list[DetectedFrame]:
        """Take the next sampled frame; give the detections that it completes: none at first, then one each."""
        with self.timer.measure("step"):
            step = _Step(frame)
            self._awaiting_motion.append(step)
            if self._stream is not None:
                with self.timer.measure("watch"):
                    watched = self._stream.push(frame.pixels)
                return [] if watched is None else list(self._advance_watched(watched))
            difference = self._push_motion(step)
            return [] if difference is None else list(self._advance(difference))

    def flush(self) -> list[DetectedFrame]:
        """The stream has ended: the detections that were held back."""
        watched = self._stream.flush() if self._stream is not None else None
        detections = [] if watched is None else list(self._advance_watched(watched))
        detections += [found for difference in self._difference.flush() for found in self._advance(difference)]
        for context in self._kernel.flush():
            detections.append(self._detect(self._awaiting_context.popleft(), context))
        return detections

    def _push_motion(self, step: _Step) -> NDArray[np.float32] | None:
        if self._method.motion == "pixel":
            preprocessed = self._preprocessed(step)
            with self.timer.measure("motion"):
                return self._difference.push(preprocessed.luma)
        self._encode(step, self._all_fine, self._coarse_now())
        assert step.fine is not None
        with self.timer.measure("motion"):
            return self._difference.push(step.fine)

    def _advance(self, difference: NDArray[np.float32]) -> Iterator[DetectedFrame]:
        """The oldest frame without a selection now has its motion: pick its windows, and go on with them."""
        step = self._awaiting_motion.popleft()
        with self.timer.measure("motion"):
            selection = self._select(difference)
        yield from self._score(step, selection, self._selected_windows(step, selection))

    def _advance_watched(self, watched: WatchedFrame | JudgedFrame) -> Iterator[DetectedFrame]:
        """The same for a frame whose windows the device has picked and encoded, and perhaps judged."""
        assert self._stream is not None
        step = self._awaiting_motion.popleft()
        step.x_clip_D = watched.frame_D
        if self._expects_localization():
            with self.timer.measure("encode"):
                located = self._stream.locate()
            step.fine, step.coarse = located.fine[0], located.coarse[0][: len(self._all_coarse)]
        if isinstance(watched, JudgedFrame):
            self._on_features(watched.frame_D, watched.features_D)
            yield self._judge(step, score_of_heads(watched.heads, self._method))
            return
        yield from self._score(step, watched.selection, watched.selected_KD)

    def _score(self, step: _Step, selection: Selection, selected_KD: NDArray[np.float32]) -> Iterator[DetectedFrame]:
        """Aggregate, and score what that completes."""
        with self.timer.measure("aggregate"):
            assert step.x_clip_D is not None
            features = self._scorer.features(step.x_clip_D, selected_KD, selection.attention)
            context = self._kernel.push(features)
        self._on_features(step.x_clip_D, features)
        if not self._keep_pictures:
            step.forget_picture()
        self._awaiting_context.append(step)
        if context is not None:
            yield self._detect(self._awaiting_context.popleft(), context)

    def _select(self, difference: NDArray[np.float32]) -> Selection:
        if self._method.motion == "pixel":
            return select_windows(pixel_motion(difference, self._geometry), self._method.windows)
        return select_windows(feature_motion(difference), self._method.windows)

    def _selected_windows(self, step: _Step, selection: Selection) -> NDArray[np.float32]:
        """Embeddings of the selected windows [K, D]; while boxes are wanted, all windows are encoded in one pass."""
        if step.fine is None:
            if len(selection.indices) < len(self._all_fine) and not self._expects_localization():
                return self._encode(step, selection.indices, self._all_coarse[:0])
            self._encode(step, self._all_fine, self._coarse_now())
        assert step.fine is not None
        return step.fine[selection.indices]

    def _encode(self, step: _Step, fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> NDArray[np.float32]:
        """Encode the frame with some of its windows; give the fine ones' embeddings, keep complete sets in the step."""
        preprocessed = self._preprocessed(step)
        with self.timer.measure("encode"):
            encoded = self._backend.encode(preprocessed.image[None], fine[None], coarse[None])
        step.x_clip_D = encoded.frame[0]
        if len(fine) == len(self._all_fine):
            step.fine = encoded.fine[0]
        if len(coarse) == len(self._all_coarse):
            step.coarse = encoded.coarse[0]
        return encoded.fine[0]

    def _preprocessed(self, step: _Step) -> PreprocessedFrame:
        if step.preprocessed is None:
            with self.timer.measure("preprocess"):
                step.preprocessed = self._preprocess(step.frame.image_bgr)
        return step.preprocessed

    def _coarse_now(self) -> NDArray[np.int64]:
        return self._all_coarse if self._expects_localization() else self._all_coarse[:0]

    def _expects_localization(self) -> bool:
        return self._localize == "always" or (self._localize == "alarm" and self.alarm.on)

    def _detect(self, step: _Step, context: NDArray[np.float32]) -> DetectedFrame:
        assert step.x_clip_D is not None
        with self.timer.measure("heads"):
            score = self._scorer.score(context, step.x_clip_D)
        return self._judge(step, score)

    def _judge(self, step: _Step, score: Score) -> DetectedFrame:
        """What follows from a score: alarm, and where."""
        alarm = self.alarm.update(step.frame.seconds, score.score)
        wanted = self._localize == "always" or (self._localize == "alarm" and alarm)
        localization = self._locate(step) if wanted or self._localize_also(step.frame) else None
        return DetectedFrame(detection=self._describe(step.frame, score, alarm, localization), frame=step.frame)

    def _locate(self, step: _Step) -> Localization:
        if step.fine is None or step.coarse is None:  # the alarm has only just gone on
            self._encode(step, self._all_fine, self._all_coarse)
        assert step.fine is not None
        assert step.coarse is not None
        with self.timer.measure("localize"):
            return self._localizer(step.fine, step.coarse, step.frame.size_wh)

    def _describe(self, frame: CameraFrame, score: Score, alarm: bool, localization: Localization | None) -> Detection:
        top = 1 + int(np.argmax(score.class_probabilities[1:]))
        return Detection(
            frame_index=frame.index,
            seconds=frame.seconds,
            score=score.score,
            class_probabilities=score.class_probabilities,
            top_class=self._class_names[top],
            top_probability=float(score.class_probabilities[top]),
            alarm=alarm,
            localization=localization,
        )
