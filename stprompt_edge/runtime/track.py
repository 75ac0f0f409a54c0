"""One camera's step without any I/O: frames go in and give `EncodeRequest`s, embeddings go in and give detections.

No backend, no thread and no clock is inside: whoever drives a track has its requests answered, one by one or many
tracks' together, in the order in which they were made. `WindowTrack` knows preprocessing, motion and the choice of
windows; `Track` adds the method, smoothing over time, and where the anomaly is.

The order of a step depends on the motion kind: `pixel` picks K windows before encoding, so only those are encoded;
`feature` has all fine windows encoded and picks afterwards. Memory is bounded: what is held of a frame, for the
motion's delay and the adapter's lookahead, is its preprocessed image and embeddings.

Suffixes: S side of the preprocessed image, K and L chosen fine and coarse windows, N all fine windows, D width of the
embedding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import HeadsOutput
from stprompt_edge.runtime.boxes import find_boxes
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.methods import open_method
from stprompt_edge.runtime.methods.base import Heads, Score
from stprompt_edge.runtime.methods.stprompt import score_of_heads
from stprompt_edge.runtime.motion import SecondDifference, Selection, feature_motion, pixel_motion, select_windows
from stprompt_edge.runtime.records import Detection, Localization
from stprompt_edge.runtime.temporal import StreamingKernel

Measure = Callable[[str], AbstractContextManager[object]]  # opened around each stage, by its name


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """A preprocessed frame and the windows of it to embed with it."""

    image: NDArray[np.float32]  # [3, S, S], normalised
    fine: NDArray[np.int64]  # [K] indices
    coarse: NDArray[np.int64]  # [L] indices

    @classmethod
    def of_all(cls, image: NDArray[np.float32], geometry: Geometry) -> EncodeRequest:
        """The frame with all of its windows, in order."""
        fine, coarse = (np.arange(count, dtype=np.int64) for count in (geometry.fine_count, geometry.coarse_count))
        return cls(image=image, fine=fine, coarse=coarse)


@dataclass(frozen=True, kw_only=True)
class FrameEmbeddings:
    """The answer to one request, float32."""

    frame_D: NDArray[np.float32]
    fine_KD: NDArray[np.float32]  # in the order that was asked for
    coarse_LD: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class JudgedWindows:
    """The windows that a sampled frame is judged by."""

    selection: Selection
    embeddings_KD: NDArray[np.float32]  # in the order of `selection`
    motion_N: NDArray[np.float32] | None = None  # None where a device has picked them


@dataclass(frozen=True, kw_only=True)
class EmbeddedFrame:
    """A sampled frame once it is encoded."""

    index: int  # of the camera frame
    seconds: float
    size_wh: tuple[int, int]  # of the camera frame, pixels
    x_clip_D: NDArray[np.float32]
    windows: JudgedWindows | None = None  # None where a device has gone on to judge them
    fine_ND: NDArray[np.float32] | None = None  # of all fine windows, when all were encoded
    coarse: NDArray[np.float32] | None = None  # [16, D] of all coarse windows, when all that are used were encoded
    image: Callable[[], NDArray[np.float32]] | None = None  # gives the preprocessed frame; None when nobody will ask


@dataclass(frozen=True, kw_only=True)
class TrackedFrame:
    """A detection, and what it was made from: so its frame can still be localized."""

    detection: Detection
    features: NDArray[np.float32]  # the vector that was smoothed, see `Scorer`
    embedded: EmbeddedFrame


@dataclass(kw_only=True)
class _Step:
    """A sampled frame on its way to an `EmbeddedFrame`."""

    index: int
    seconds: float
    size_wh: tuple[int, int]
    image: NDArray[np.float32]
    selection: Selection | None = None
    motion_N: NDArray[np.float32] | None = None
    request: EncodeRequest | None = None
    answer: FrameEmbeddings | None = None


class WindowTrack:
    """Frames in, requests out; their embeddings in, embedded frames with their judged windows out.

    A push makes one request at most, so does `flush`. Several may be open; `take` answers the oldest.

    Args:
        bundle: preprocessing, geometry, K, and kind and timing of motion.
        motion: another kind than the bundle's.
        coarse_count: of coarse windows that localizing needs.
        keeps_images: False where no frame will be localized afterwards.
        measure: opened around the stages `preprocess` and `motion`.

    Attributes:
        all_windows: set it to have all fine and coarse windows encoded in one pass, because boxes are expected.
        all_fine: set it to have all fine windows encoded.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        motion: str | None = None,
        coarse_count: int = 0,
        keeps_images: bool = True,
        measure: Measure = nullcontext,
    ) -> None:
        method = bundle.manifest.method
        self._geometry = bundle.geometry
        self._count = method.windows
        self._before_encoding = (motion or method.motion) == "pixel"
        self._fine = np.arange(bundle.geometry.fine_count, dtype=np.int64)
        self._coarse = np.arange(coarse_count, dtype=np.int64)
        self._keeps_images = keeps_images
        self._preprocess = Preprocessor(bundle.preprocessing)
        self._difference = SecondDifference(method.motion_timing)
        self._measure = measure
        self._awaiting_motion: deque[_Step] = deque()
        self._awaiting_answer: deque[_Step] = deque()
        self.all_windows = self.all_fine = False

    def push(self, frame: CameraFrame) -> EncodeRequest | None:
        """Take the next sampled frame; give the request that it makes possible."""
        with self._measure("preprocess"):
            prepared = self._preprocess(frame.image_bgr)
        step = _Step(index=frame.index, seconds=frame.seconds, size_wh=frame.size_wh, image=prepared.image)
        if not self._before_encoding:
            return self._ask(step, self._fine)
        self._awaiting_motion.append(step)
        with self._measure("motion"):
            difference = self._difference.push(prepared.luma)
        return None if difference is None else self._ask_moved(difference)

    def flush(self) -> EncodeRequest | None:
        """The stream has ended: the request that was held back, if motion comes before encoding."""
        if not self._before_encoding:
            return None
        return next((self._ask_moved(difference) for difference in self._difference.flush()), None)

    def take(self, embeddings: FrameEmbeddings) -> EmbeddedFrame | None:
        """The answer to the oldest open request; give the frame that it completes."""
        step = self._awaiting_answer.popleft()
        step.answer = embeddings
        if self._before_encoding:
            return self._embedded(step)
        self._awaiting_motion.append(step)
        with self._measure("motion"):
            difference = self._difference.push(embeddings.fine_KD)
        return None if difference is None else self._embedded_moved(difference)

    def finish(self) -> EmbeddedFrame | None:
        """All requests are answered and the stream has ended: the frame that was held back, if motion comes later."""
        if self._before_encoding:
            return None
        return next((self._embedded_moved(difference) for difference in self._difference.flush()), None)

    def _ask_moved(self, luma_difference: NDArray[np.float32]) -> EncodeRequest:
        """The oldest frame without motion has it: pick its windows."""
        step = self._awaiting_motion.popleft()
        with self._measure("motion"):
            step.motion_N = pixel_motion(luma_difference, self._geometry)
            step.selection = select_windows(step.motion_N, self._count)
        every = self.all_fine or self.all_windows or len(step.selection.indices) == len(self._fine)
        return self._ask(step, self._fine if every else step.selection.indices)

    def _ask(self, step: _Step, fine: NDArray[np.int64]) -> EncodeRequest:
        coarse = self._coarse if self.all_windows else self._coarse[:0]
        step.request = EncodeRequest(image=step.image, fine=fine, coarse=coarse)
        self._awaiting_answer.append(step)
        return step.request

    def _embedded_moved(self, difference_ND: NDArray[np.float32]) -> EmbeddedFrame:
        """The oldest encoded frame has its motion: pick its windows."""
        step = self._awaiting_motion.popleft()
        with self._measure("motion"):
            step.motion_N = feature_motion(difference_ND)
            step.selection = select_windows(step.motion_N, self._count)
        return self._embedded(step)

    def _embedded(self, step: _Step) -> EmbeddedFrame:
        assert step.answer is not None
        assert step.request is not None
        assert step.selection is not None
        every = len(step.request.fine) == len(self._fine)
        selected_KD = step.answer.fine_KD[step.selection.indices] if every else step.answer.fine_KD
        image = step.image
        return EmbeddedFrame(
            index=step.index,
            seconds=step.seconds,
            size_wh=step.size_wh,
            x_clip_D=step.answer.frame_D,
            windows=JudgedWindows(selection=step.selection, embeddings_KD=selected_KD, motion_N=step.motion_N),
            fine_ND=step.answer.fine_KD if every else None,
            coarse=step.answer.coarse_LD if len(step.request.coarse) == len(self._coarse) else None,
            image=(lambda: image) if self._keeps_images else None,
        )


class Track:
    """One camera's sampled frames in, detections out.

    Args:
        bundle: model and settings.
        heads: its heads graph, for example `Backend.heads`.
        lookahead: later sampled frames that the adapter may use, so detections come that much later; None for all
            that count, which gives the offline scores.
        keeps_images: False where no frame will be localized unless `expects_boxes` was set: a long lookahead then holds
            embeddings alone.
        measure: opened around each stage, by its name.
    """

    def __init__(
        self,
        bundle: Bundle,
        heads: Heads,
        *,
        lookahead: int | None = 0,
        keeps_images: bool = True,
        measure: Measure = nullcontext,
    ) -> None:
        self._bundle = bundle
        self._measure = measure
        self._method = open_method(bundle, heads)
        self._kernel = StreamingKernel(self._method.scorer.width, bundle.manifest.method.sigma, lookahead)
        coarse_count = bundle.geometry.coarse_count * self._method.localizer.uses_coarse
        self._windows = WindowTrack(bundle, coarse_count=coarse_count, keeps_images=keeps_images, measure=measure)
        self._all = EncodeRequest.of_all(np.zeros((0, 0, 0), np.float32), bundle.geometry)
        self._coarse_count = coarse_count
        self._smoothing: deque[tuple[NDArray[np.float32], EmbeddedFrame]] = deque()
        self.lookahead = self._kernel.lookahead

    @property
    def expects_boxes(self) -> bool:
        """Set it while frames will be localized: all windows are then encoded in one pass."""
        return self._windows.all_windows

    @expects_boxes.setter
    def expects_boxes(self, expected: bool) -> None:
        self._windows.all_windows = expected

    def push(self, frame: CameraFrame) -> EncodeRequest | None:
        """Take the next sampled frame; give the request that it makes possible."""
        return self._windows.push(frame)

    def flush(self) -> EncodeRequest | None:
        """The stream has ended: the request that was held back; `finish` comes after its answer."""
        return self._windows.flush()

    def take(self, embeddings: FrameEmbeddings) -> list[TrackedFrame]:
        """The answer to the oldest open request; give the detections it completes: none at first, then one each."""
        embedded = self._windows.take(embeddings)
        return [] if embedded is None else self.add(embedded)

    def finish(self) -> list[TrackedFrame]:
        """All requests are answered and the stream has ended: the detections that were held back."""
        embedded = self._windows.finish()
        found = [] if embedded is None else self.add(embedded)
        return found + [self._detect(context) for context in self._kernel.flush()]

    def add(self, embedded: EmbeddedFrame) -> list[TrackedFrame]:
        """The next frame in order, picked and encoded elsewhere: aggregate, smooth, and judge what that completes."""
        windows = embedded.windows
        assert windows is not None
        with self._measure("aggregate"):
            features = self._method.scorer.features(
                embedded.x_clip_D, windows.embeddings_KD, windows.selection.attention
            )
            context = self._kernel.push(features)
        self._smoothing.append((features, embedded))
        return [] if context is None else [self._detect(context)]

    def add_judged(self, embedded: EmbeddedFrame, features: NDArray[np.float32], heads: HeadsOutput) -> TrackedFrame:
        """The next frame in order, judged elsewhere up to one row of the stprompt heads."""
        return self._tracked(embedded, features, score_of_heads(heads, self._bundle.manifest.method))

    def request_to_localize(self, tracked: TrackedFrame) -> EncodeRequest | None:
        """What `localize` needs answered besides; None where all windows were encoded with the frame."""
        embedded = tracked.embedded
        if embedded.fine_ND is not None and embedded.coarse is not None:
            return None
        assert embedded.image is not None, "this track was told that nothing is localized afterwards"
        return replace(self._all, image=embedded.image(), coarse=self._all.coarse[: self._coarse_count])

    def localize(self, tracked: TrackedFrame, embeddings: FrameEmbeddings | None = None) -> Localization:
        """Where in a frame the anomaly is.

        Args:
            tracked: given out by this track.
            embeddings: the answer to `request_to_localize`; None where it made none.
        """
        fine_ND, coarse = tracked.embedded.fine_ND, tracked.embedded.coarse
        if embeddings is not None:
            fine_ND, coarse = embeddings.fine_KD, embeddings.coarse_LD
        assert fine_ND is not None
        assert coarse is not None
        with self._measure("localize"):
            heat = self._method.localizer(fine_ND, coarse)
            threshold = self._bundle.manifest.localization.threshold
            return Localization(heat_map=heat, boxes=find_boxes(heat, tracked.embedded.size_wh, threshold))

    def _detect(self, context: NDArray[np.float32]) -> TrackedFrame:
        features, embedded = self._smoothing.popleft()
        with self._measure("heads"):
            score = self._method.scorer.score(context, embedded.x_clip_D)
        return self._tracked(embedded, features, score)

    def _tracked(self, embedded: EmbeddedFrame, features: NDArray[np.float32], score: Score) -> TrackedFrame:
        top = 1 + int(np.argmax(score.class_probabilities[1:]))
        detection = Detection(
            frame_index=embedded.index,
            seconds=embedded.seconds,
            score=score.score,
            class_probabilities=score.class_probabilities,
            top_class=self._bundle.vocabulary.class_names[top],
            top_probability=float(score.class_probabilities[top]),
        )
        return TrackedFrame(detection=detection, features=features, embedded=embedded)
