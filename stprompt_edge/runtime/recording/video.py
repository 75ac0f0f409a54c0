"""annotated.mp4: every camera frame with the result that holds for it, and the score strip below."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.files import PartialFile, disk_errors, is_disk_full
from stprompt_edge.runtime.drawing import (
    StripSample,
    StripStyle,
    draw_boxes,
    draw_score_strip,
    overlay_heat,
    strip_height,
)
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import Detection, RunFacts

LONG_SIDE = 960  # pixels of the whole picture: enough to judge a scene, cheap enough to encode beside the detector
_SMALLEST = 16  # pixels; H.264 works in blocks of 16 x 16
_TICKS = 90_000  # per second, the customary clock of MPEG video: real timestamps survive to 11 microseconds
_KEY_SECONDS = 2  # a player can jump to any 2 seconds
# A longer gap between two frames is played as one of this length: MP4 holds none over 2**31 ticks (6.6 hours), nobody
# watches a standing picture for so long, and scores.csv has the source's own time
LONGEST_GAP_SECONDS = 10.0
# One 768 x 432 CCTV frame on one core: ultrafast 1.8 ms, 5.4 kB; veryfast 4.2 ms, 1.2 kB; faster 7.2 ms, 1.5 kB
_X264 = {"preset": "veryfast", "crf": "25"}
_MPEG4 = {"qscale": "5"}
# Frames wait until the result that holds for them is known: with stride 16 and centered motion, 32 of them (63 MiB)
_MAX_PENDING_BYTES = 192 * 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A camera frame at drawing size."""

    index: int
    seconds: float
    image_bgr: NDArray[np.uint8]  # [h, w, 3]
    scale: float  # pixels of image_bgr per camera pixel


class AnnotatedVideo(PartialFile):
    """Encodes H.264 in MP4; a result is held from its frame until the next sampled frame.

    The partial file appears with the first written frame; a run without frames writes none. What the encoder or the
    container refuses costs the video alone: it is dropped, and a warning says why.

    Raises:
        EnvironmentFailure: disk full (`files.disk_errors`), in every method.
    """

    def __init__(self, target: Path, facts: RunFacts) -> None:
        super().__init__(target)
        self.warnings: list[str] = []
        self._fps = facts.source.fps if 0 < facts.source.fps < 1000 else 25.0
        self._style = StripStyle(threshold_on=facts.threshold_on)
        self._pending: deque[_Waiting] = deque()
        self._pending_bytes = 0
        self._unscored = 0
        self._current: Detection | None = None
        self._history: deque[StripSample] = deque()
        self._encoder: _Encoder | None = None
        self._begun = self._dropped = False

    @property
    def started(self) -> bool:
        """Is there a file, with a frame in it?"""
        return self._encoder is not None

    def add_frame(self, frame: CameraFrame) -> None:
        """Takes the next camera frame; it is drawn once the result that holds for it is known."""
        if self._dropped:
            return
        width, height = picture_size(frame.image_bgr.shape[1], frame.image_bgr.shape[0])
        scale = width / frame.image_bgr.shape[1]
        image = _resized(frame.image_bgr, width, height)
        self._pending.append(_Waiting(index=frame.index, seconds=frame.seconds, image_bgr=image, scale=scale))
        self._pending_bytes += image.nbytes
        while self._pending_bytes > _MAX_PENDING_BYTES:
            self._unscored += 1
            self._write_next()

    def add_detection(self, detection: Detection) -> None:
        """Everything before this sampled frame is final and is written with the result before it."""
        while self._pending and self._pending[0].index < detection.frame_index:
            self._write_next()
        self._current = detection
        self._history.append(
            StripSample(
                seconds=detection.seconds, score=detection.score, alarm=detection.alarm, label=detection.top_class
            )
        )
        while self._history[0].seconds < detection.seconds - 2 * self._style.span_seconds:
            self._history.popleft()

    def close(self) -> None:
        """Writes the frames that still wait, with the last result, and the index of the file."""
        while self._pending:
            self._write_next()
        if self._encoder is None:
            return
        if self._unscored:
            self.warnings.append(f"annotated.mp4: {self._unscored} frames were drawn before their own score was known")
        with self._dropping():
            self._encoder.close()

    def discard(self) -> None:
        """Stops encoding and removes the partial file, if this run began one; never raises."""
        self._pending.clear()
        self._pending_bytes = 0
        if self._encoder is not None:
            self._encoder.abandon()
            self._encoder = None
        if self._begun:
            super().discard()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Whatever goes wrong but a full disk drops the video, so that the other files come to their end."""
        try:
            yield
        except (OSError, av.error.FFmpegError, ValueError, RuntimeError) as exc:  # what PyAV raises
            if isinstance(exc, OSError) and is_disk_full(exc):
                with disk_errors(self.target):
                    raise
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            self.warnings = [f"no annotated.mp4, its encoder failed: {reason}; the other files are whole"]
            self.discard()
            self._dropped = True

    def _write_next(self) -> None:
        frame = self._pending.popleft()
        self._pending_bytes -= frame.image_bgr.nbytes
        image, current = frame.image_bgr, self._current
        if current is not None and current.alarm and current.localization is not None:
            image = overlay_heat(image, current.localization.heat_map)
            image = draw_boxes(image, current.localization.boxes, current.top_class, scale=frame.scale)
        strip = draw_score_strip(image.shape[1], tuple(self._history), now=frame.seconds, style=self._style)
        picture = _padded(np.vstack([image, strip]))
        with self._dropping():
            if self._encoder is None:
                self.path.unlink(missing_ok=True)  # what a killed run left; never write through a link
                self._begun = True
                self._encoder = _Encoder(self.path, size_wh=(picture.shape[1], picture.shape[0]), fps=self._fps)
                self.warnings.extend(self._encoder.warnings)
            self._encoder.write(picture, frame.seconds)


def picture_size(width: int, height: int) -> tuple[int, int]:
    """Width and height in pixels at which a camera frame is drawn, so that it and its strip fit into LONG_SIDE.

    >>> picture_size(1920, 1080), picture_size(1080, 1920), picture_size(320, 240), picture_size(1, 1)
    ((960, 540), (521, 926), (320, 240), (1, 1))
    """
    scale = min(1.0, LONG_SIDE / max(width, height))
    strip = strip_height(max(round(width * scale), 1))  # of a picture that may still be reduced a little: enough
    scale = min(scale, (LONG_SIDE - strip) / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


class PlayedTime:
    """The time of a frame in the written video: the source's, but for gaps over LONGEST_GAP_SECONDS either way.

    Args:
        clock: seconds of a tick.
        frame_ticks: that a frame usually lasts.

    >>> time = PlayedTime(Fraction(1, 10), frame_ticks=2)
    >>> [time.ticks(seconds) for seconds in (0.0, 0.2, 0.2, 0.1, 0.6, 90000.6, 90000.8, 0.0, 0.2)]
    [0, 2, 3, 4, 6, 106, 108, 110, 112]
    """

    def __init__(self, clock: Fraction, frame_ticks: int) -> None:
        self._clock = clock
        self._frame_ticks = frame_ticks
        self._source_s = 0.0  # of the last frame
        self._left_out = 0  # ticks of the source's time before it that are not played
        self._last = -1

    def ticks(self, seconds: float) -> int:
        """Of the next frame; more than those of the frame before, also where the source's time stands or goes back."""
        gap_s, self._source_s = seconds - self._source_s, seconds
        at = round(seconds / self._clock)
        if abs(gap_s) > LONGEST_GAP_SECONDS:
            step = round(LONGEST_GAP_SECONDS / self._clock) if gap_s > 0 else self._frame_ticks
            self._left_out = at - (max(self._last, 0) + step)
        self._last = max(at - self._left_out, self._last + 1)
        return self._last


class _Encoder:
    """One H.264 stream in one MP4; the pictures carry their own times."""

    def __init__(self, path: Path, *, size_wh: tuple[int, int], fps: float) -> None:
        self.warnings: list[str] = []
        self._size_wh = size_wh
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        codec, options = _codec()
        if codec != "libx264":
            self.warnings.append("annotated.mp4 is MPEG-4 Part 2, which browsers do not play: this PyAV has no libx264")
        rate = Fraction(fps).limit_denominator(1001)
        # MPEG-4 Part 2 knows no finer clock than 1/65535
        self._clock = Fraction(1, _TICKS if codec == "libx264" else 60_000)
        self._frame_ticks = max(round(1 / fps / self._clock), 1)
        stream = self._container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height = size_wh
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._clock
        self._stream.codec_context.gop_size = max(round(fps * _KEY_SECONDS), 1)
        self._time = PlayedTime(self._clock, self._frame_ticks)

    def write(self, picture_bgr: NDArray[np.uint8], seconds: float) -> None:
        """Encodes [H, W, 3] BGR uint8, shown from `seconds` of the source on, see `PlayedTime`."""
        if (picture_bgr.shape[1], picture_bgr.shape[0]) != self._size_wh:  # a camera that changed its size
            picture_bgr = _resized(picture_bgr, *self._size_wh)
        planes = np.asarray(cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)  # [H * 3/2, W]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = self._time.ticks(seconds)
        frame.time_base = self._clock
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        self._mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        try:
            self._container.close()
        except (OSError, av.error.FFmpegError, ValueError) as exc:  # the file is removed next
            _log.debug("closing an abandoned video: %s", exc)

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            if not packet.duration:
                packet.duration = self._frame_ticks  # only the last one's shows: how long the last frame stays
            self._container.mux(packet)


def _codec() -> tuple[str, dict[str, str]]:
    if "libx264" in av.codecs_available:
        return "libx264", _X264
    return "mpeg4", _MPEG4


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3]; the input itself when it fits already."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Black to the right and below, up to even sides of at least 16: [H, W, 3]."""
    height, width = image.shape[:2]
    bottom, right = (max(_SMALLEST, side + side % 2) - side for side in (height, width))
    return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT), np.uint8)
