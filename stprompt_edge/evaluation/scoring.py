"""One video through the observer that ships, judged against its annotation on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.evaluation.lookahead import Recorder, lookaheads
from stprompt_edge.evaluation.pictures import TellingFrames
from stprompt_edge.evaluation.records import Anomaly, EvaluationSettings, LocatedFrame, ScoredVideo
from stprompt_edge.evaluation.truth import AnnotatedFrames
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.methods import open_method
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.records import Detection, Localization
from stprompt_edge.runtime.sampler import Sampler, default_stride
from stprompt_edge.runtime.sources import ASSUMED_FPS, Source, open_source
from stprompt_edge.runtime.track import TrackedFrame

SAME_ANOMALY_S = 1.0  # intervals closer than this are one anomaly

Progress = Callable[[str, float], None]  # told what is done now, and the fraction done
FrameProgress = Callable[[float], None]  # told the fraction of the video that is done
Outcome = ScoredVideo | str  # or why the video was skipped

_Result = TypeVar("_Result")


class VideoScorer:
    """Scores videos with one open model.

    Args:
        bundle: model and settings.
        backend: its graphs, open.
        stride: camera frames per sampled frame; None for the model's own, or streaming for what `run` takes.
        fps: of image folders; None where nobody knows.
        streaming: as at the edge (lookahead 0, the bundle's alarm, boxes while it is on), and the annotated frames
            localized besides; otherwise offline, with all frames in sight, and nothing but scores.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, *, stride: int | None, streaming: bool, fps: float | None = None
    ) -> None:
        self._bundle = bundle
        self._backend = backend
        self._stride = stride
        self._streaming = streaming
        self._fps = fps

    def __call__(self, video: LabelledVideo, on_progress: FrameProgress = lambda done: None) -> ScoredVideo:
        """Score one video.

        Raises:
            SourceError: it cannot be read.
            UsageError: its annotation is not of this file.
        """
        with open_source(str(video.path), fps=video.fps_of(self._fps)) as source:
            sampler = self._sampler(source)
            observer = self._observer()
            judge = _Judge(video, self._bundle, sampler.stride, observer.localize if self._streaming else None)
            counted = _Counter(sampler)
            source.planar = lambda index: observer.on_device
            total = source.info.frame_count or 0
            for frame in source.frames(counted):
                judge.expect(frame)
                judge.take(observer.push(frame))
                on_progress(min(frame.index / total, 1.0) if total else 0.0)
            judge.take(observer.flush())
        if not judge.scores:
            raise SourceError("none of its sampled frames can be read", remedy="copy the video again")
        scores = (
            {0: judge.scores, **self._other_lookaheads(judge.recorder)} if self._streaming else {None: judge.scores}
        )
        return judge.finish(source, counted.frames, scores, alarm=self._streaming)

    def _sampler(self, source: Source) -> Sampler:
        method = self._bundle.manifest.method
        own = default_stride(method, source.info.known_fps) if self._streaming else method.stride
        return Sampler(own if self._stride is None else self._stride)

    def _observer(self) -> Observer:
        if self._streaming:
            return Observer(self._bundle, self._backend)
        return Observer(self._bundle, self._backend, localize="never", lookahead=None, offline=True)

    def _other_lookaheads(self, recorder: Recorder) -> dict[int | None, NDArray[np.float64]]:
        scorer = open_method(self._bundle, self._backend.heads).scorer
        sigma = self._bundle.manifest.method.sigma
        return {one: recorder.scores(scorer, sigma, one) for one in lookaheads(sigma) if one != 0}


class _Counter:
    """Asks for the sampled frames and counts all: containers do not always tell the truth."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.frames = 0

    def __call__(self, index: int) -> bool:
        self.frames = index + 1
        return self._sampler.takes(index)


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model that can score."""

    bundle: Bundle  # of a checkpoint: what export would write, in memory
    backend: Backend

    def scorer(self, settings: EvaluationSettings) -> VideoScorer:
        """What scores one video after the other."""
        return VideoScorer(
            self.bundle, self.backend, stride=settings.stride, streaming=settings.streaming, fps=settings.fps
        )


def outcome_of(work: Callable[[], _Result]) -> _Result | str:
    """The result, or why a video or its annotation cannot be used: one bad file must not cost hours of others."""
    try:
        return work()
    except (SourceError, UsageError) as exc:
        return exc.what


class _Judge:
    """Collects the detections of one video and compares them with its annotation.

    Args:
        video: annotated.
        bundle: its heat threshold.
        stride: camera frames per sampled frame.
        localize: gives boxes of an annotated frame that has none; None to compare nothing.
    """

    def __init__(
        self, video: LabelledVideo, bundle: Bundle, stride: int, localize: Callable[[TrackedFrame], Localization] | None
    ) -> None:
        self._video = video
        self._localize = localize
        self._stride = stride
        self._heat_threshold = bundle.manifest.localization.threshold
        self._annotated = AnnotatedFrames(video, stride)
        self._telling = TellingFrames(video.name, video.label)
        self._frames: list[int] = []
        self._seconds: list[float] = []
        self._alarm: list[bool] = []
        self._located: list[LocatedFrame] = []
        self._expected: dict[int, CameraFrame] = {}  # annotated sampled frames whose detection is still to come
        self.recorder = Recorder()
        self.scores: list[float] = []

    def expect(self, frame: CameraFrame) -> None:
        """The next sampled frame; its picture is kept until its detection comes, if it is annotated."""
        if self._localize is not None and frame.index in self._annotated.first_of:
            self._expected[frame.index] = frame

    def take(self, tracked: list[TrackedFrame]) -> None:
        """The next detections."""
        for one in tracked:
            detection = one.detection
            self._frames.append(detection.frame_index)
            self._seconds.append(detection.seconds)
            self._alarm.append(detection.alarm)
            self.scores.append(detection.score)
            if self._localize is None:
                continue
            self.recorder.add(one)
            frame = self._expected.pop(detection.frame_index, None)
            if frame is not None:
                found = detection.localization or self._localize(one)
                self._compare(dataclasses.replace(detection, localization=found), frame)

    def _compare(self, detection: Detection, frame: CameraFrame) -> None:
        size_wh = frame.size_wh
        area = self._annotated.area(detection.frame_index, size_wh)
        if area is None or detection.localization is None:
            return
        located = LocatedFrame(
            frame=self._annotated.first_of[detection.frame_index],
            score=detection.score,
            iou=area.iou(detection.localization, self._heat_threshold),
            true_share=area.share(size_wh),
        )
        self._located.append(located)
        self._telling.add(located, detection, frame, area)

    def finish(self, source: Source, frames: int, scores: dict, *, alarm: bool) -> ScoredVideo:
        """The whole video, its sampled frames all there."""
        sampled = np.arange(0, frames, self._stride)
        rows = rows_of(sampled, self._frames)
        fps = source.info.fps or ASSUMED_FPS
        clock = _Clock(self._frames, self._seconds, fps, frames)
        video = self._video
        size_wh = source.info.width, source.info.height
        lost = tuple(self._never_seen(size_wh)) if alarm else ()  # offline nothing is localized
        return ScoredVideo(
            name=video.name,
            label=video.label,
            stride=self._stride,
            fps=fps,
            frame_count=frames,
            seconds=clock(sampled),
            duration_seconds=float(clock([frames])[0]),
            scores={lookahead: np.asarray(values, np.float64)[rows] for lookahead, values in scores.items()},
            alarm=np.asarray(self._alarm, bool)[rows] if alarm else None,
            labels=frame_labels(video, frames),
            anomalies=anomalies(video, frames, clock),
            located=tuple(sorted((*self._located, *lost), key=lambda one: one.frame)),
            pictures=self._telling.pictures(),
            warnings=(*source.warnings, *_lost_warnings(len(lost))),
        )

    def _never_seen(self, size_wh: tuple[int, int]) -> Iterator[LocatedFrame]:
        """The annotated frames that could not be decoded or lie behind the end: nothing was found in them."""
        for sampled in self._annotated.first_of.keys() - set(self._frames):
            try:
                area = self._annotated.area(sampled, size_wh)
            except UsageError:  # its range reaches beyond the masks too, as tracks of UBnormal may
                continue
            if area is not None:
                frame = self._annotated.first_of[sampled]
                yield LocatedFrame(frame=frame, score=0.0, iou=0.0, true_share=area.share(size_wh))


class _Clock:
    """Seconds of any camera frame, from those of the sampled ones; the last frame's end is the video's.

    Before the first one that could be decoded, time runs at `fps`: `np.interp` alone would stop it there.
    """

    def __init__(self, frames: list[int], seconds: list[float], fps: float, frame_count: int) -> None:
        first, start = ([0], [max(seconds[0] - frames[0] / fps, 0.0)]) if frames[0] > 0 else ([], [])
        self._frames = [*first, *frames, frame_count]
        self._seconds = [*start, *seconds, seconds[-1] + (frame_count - frames[-1]) / fps]

    def __call__(self, frames: Any) -> NDArray[np.float64]:
        return np.interp(np.asarray(frames, np.float64), self._frames, self._seconds)


def rows_of(sampled: NDArray[np.int64], read: ArrayLike) -> NDArray[np.int64]:
    """For each sampled frame its row among those that were read; one that could not be has the row before it."""
    return np.maximum(np.searchsorted(np.asarray(read), sampled, side="right") - 1, 0)


def _lost_warnings(count: int) -> Iterator[str]:
    if count:
        yield f"{count} annotated frames cannot be decoded or lie behind its end: their IoU is 0"


def frame_labels(video: LabelledVideo, frame_count: int) -> NDArray[np.bool_] | None:
    """[F] bool; None where nobody annotated it. Raises UsageError as `LabelledVideo.frame_labels`."""
    if video.frame_ranges is None and not video.is_normal:
        return None
    return video.frame_labels(frame_count)


def anomalies(
    video: LabelledVideo, frame_count: int, clock: Callable[[Any], NDArray[np.float64]]
) -> tuple[Anomaly, ...]:
    """The anomalies of a video in seconds, cut at its end.

    Intervals less than SAME_ANOMALY_S apart are one anomaly: a cyclist who turns outside the picture comes back as the
    same one, and whoever watches was alarmed already.
    """
    found: list[Anomaly] = []
    for first, last in video.frame_ranges or ():  # in order
        start, end = map(float, clock([first, min(last, frame_count)]))
        if found and start - found[-1].end_seconds < SAME_ANOMALY_S:
            start = found.pop().start_seconds
        found.append(Anomaly(start_seconds=start, end_seconds=end))
    return tuple(found)
