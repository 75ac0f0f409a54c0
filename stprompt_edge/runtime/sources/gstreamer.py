"""Frames from a GStreamer pipeline: what `gst-launch-1.0` takes, up to where its pictures come out.

    rtspsrc location=rtsp://camera/stream ! rtph264depay ! h264parse ! nvv4l2decoder ! nvvidconv

Our own appsink is put behind it, and pulled with a time-out. It takes pictures in ordinary memory, NV12 at best.
PyGObject and GStreamer come from the system's packages: OpenCV and PyAV from PyPI know nothing of GStreamer.

Planes whose matrix nobody states are BT.601, as from every other source (see `planes`); GStreamer would guess BT.709
above 576 lines and BT.2020 above 2160. What the pipeline itself converts to BGR it converts by its own guess.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import SourceError
from stprompt_edge.imports import import_failure
from stprompt_edge.masking import masked
from stprompt_edge.runtime.frames import CameraFrame, Matrix, Nv12Frame
from stprompt_edge.runtime.planes import PlanarFrame, picture_from_nv12
from stprompt_edge.runtime.records import SourceInfo
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.clock import ASSUMED_FPS, Clock

NAMESPACES = ("Gst", "GstApp", "GstVideo")  # of PyGObject, all of version 1.0
PACKAGES = "python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base"
PLUGINS = "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"
FORMATS = ("NV12", "I420", "BGR", "BGRx")  # the element before picks
SINK = "stprompt_edge_sink"
QUEUED = 2  # pictures that wait in our appsink
NANOSECOND = 1e-9
MATRICES: dict[str, Matrix] = {"bt601": "bt601", "bt709": "bt709"}  # by GStreamer's nicknames
POLL_NS = 100_000_000  # how soon an error of the pipeline, or a time-out, is noticed
_OWN_APPSINK = re.compile(r"\s!\s+appsink\b[^!]*$")  # as OpenCV wants it at the end of a pipeline
_FINITE = re.compile(r"(^|[\s!])((videotest|file|multifile|splitfile|splitmux|app|fd)src|num-buffers)\b")  # no camera
_IN_MEMORY = "end the pipeline in pictures in ordinary memory: ! videoconvert"
_IN_MEMORY_JETSON = "end the pipeline in ordinary memory: ! nvvidconv ! video/x-raw,format=NV12"


@dataclass(frozen=True, kw_only=True)
class PictureLayout:
    """Where the planes of a picture lie in its buffer."""

    format: str  # one of FORMATS
    width: int
    height: int
    strides: tuple[int, ...]  # bytes from row to row of each plane
    offsets: tuple[int, ...]  # bytes before the first row of each plane
    matrix: Matrix
    full_range: bool

    def pixels(self, data: NDArray[np.uint8]) -> NDArray[np.uint8] | Nv12Frame | None:
        """Views of a buffer, [n] uint8: [H, W, 3] BGR or NV12; None if the buffer is too short for them."""
        half_w, half_h = (self.width + 1) // 2, (self.height + 1) // 2
        shapes: dict[str, list[tuple[int, ...]]] = {
            "NV12": [(self.height, self.width), (half_h, half_w, 2)],
            "I420": [(self.height, self.width), (half_h, half_w), (half_h, half_w)],
            "BGR": [(self.height, self.width, 3)],
            "BGRx": [(self.height, self.width, 4)],
        }
        planes: list[NDArray[np.uint8]] = []
        for shape, stride, offset in zip(shapes[self.format], self.strides, self.offsets, strict=False):
            if offset + (shape[0] - 1) * stride + math.prod(shape[1:]) > data.size:
                return None
            planes.append(np.ndarray(shape, np.uint8, data, offset, (stride, *shape[2:], 1)))
        if len(planes) == 1:
            return planes[0][:, :, :3]
        chroma = planes[1] if self.format == "NV12" else np.asarray(cv2.merge(planes[1:]), np.uint8)
        return Nv12Frame(luma=planes[0], chroma=chroma, matrix=self.matrix, full_range=self.full_range)


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """One sample of the pipeline."""

    index: int
    stamp_s: float | None
    pixels: NDArray[np.uint8] | Nv12Frame | None  # None: not wanted, or damaged


class GStreamerSource(Source):
    """A pipeline that plays. It is live if GStreamer says so: cameras and RTSP are, files are not.

    Args:
        pipeline: as for `gst-launch-1.0`; an appsink at its end is replaced by ours.
        open_timeout_s: seconds until its first picture.
        read_timeout_s: seconds it may then give nothing.

    Raises:
        EnvironmentFailure: PyGObject or GStreamer is missing.
        SourceError: it is no pipeline, lacks a plugin, fails at the start, or gives no picture in time.
    """

    def __init__(self, pipeline: str, *, open_timeout_s: float, read_timeout_s: float) -> None:
        super().__init__()
        self._gst, self._video = import_gstreamer()
        self._text, self._read_timeout_s = pipeline, read_timeout_s
        self._pipeline: Any = None
        self._error: str | None = None
        self._is_open_file = False
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._pipeline = self._parse(pipeline)
            self._sink, self._bus = self._pipeline.get_by_name(SINK), self._pipeline.get_bus()
            deadline_s = time.monotonic() + open_timeout_s
            live = self._start(deadline_s)
            self._first = self._pull(deadline_s)
            if self._first is None:
                raise SourceError("the GStreamer pipeline ends without a picture", remedy=f"try it: {self._launch()}")
            self.info = self._describe(self._first, live)
            self._is_open_file = not live
            self.finite = not live or _FINITE.search(pipeline) is not None
            on_failure.pop_all()

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        """See `Source.frames`. What a live pipeline gives while nobody pulls is dropped and not counted."""
        clock = Clock(1 / (self.info.fps or ASSUMED_FPS))
        waiting: deque[_Picture] = deque()
        for picture in self._pictures(wanted):
            waiting.append(picture)
            for seconds in clock.push(picture.stamp_s):
                yield from self._given(waiting.popleft(), seconds)
        for seconds in clock.flush():
            yield from self._given(waiting.popleft(), seconds)

    def _pictures(self, wanted: Callable[[int], bool]) -> Iterator[_Picture]:
        """Everything that the pipeline gives, copied where it is wanted."""
        sample, self._first = self._first, None
        index = -1
        while sample is not None:
            index, buffer = index + 1, sample.get_buffer()
            corrupt = buffer.has_flags(self._gst.BufferFlags.CORRUPTED)
            self.losses.corrupt_frames += corrupt
            pixels = None
            if wanted(index) and not corrupt:
                pixels = self._pixels(sample)
                self.losses.undecodable_packets += pixels is None
            stamp = None if buffer.pts == self._gst.CLOCK_TIME_NONE else buffer.pts * NANOSECOND
            del sample, buffer  # a decoder has few of them, and waits for one to come back
            yield _Picture(index=index, stamp_s=stamp, pixels=pixels)
            sample = self._pull(time.monotonic() + self._read_timeout_s)

    def _given(self, picture: _Picture, seconds: float) -> Iterator[CameraFrame]:
        if picture.pixels is not None:
            planar = self.planar(picture.index)
            yield _camera_frame(picture.pixels, index=picture.index, seconds=seconds, planar=planar)

    def close(self) -> None:
        """Stop the pipeline."""
        if self._pipeline is not None:
            self._pipeline.set_state(self._gst.State.NULL)

    def _parse(self, text: str) -> Any:
        caps = f"video/x-raw,format=(string){{{','.join(FORMATS)}}}"
        sink = f'appsink name={SINK} emit-signals=false sync=false max-buffers={QUEUED} caps="{caps}"'
        try:
            return self._gst.parse_launch(f"{_OWN_APPSINK.sub('', text)} ! {sink}")
        except self._glib_error() as exc:
            raise self._failure(exc.message) from None  # type: ignore[attr-defined]  # it may hold a password

    def _start(self, deadline_s: float) -> bool:
        """Play; True if the pipeline is live."""
        change, results = self._pipeline.set_state(self._gst.State.PAUSED), self._gst.StateChangeReturn
        while change == results.ASYNC and self._reported() is None and time.monotonic() < deadline_s:
            change = self._pipeline.get_state(POLL_NS)[0]
        reason = self._reported() or {results.ASYNC: "no picture in time", results.FAILURE: "it does not start"}.get(
            change
        )
        if reason is not None:
            raise self._failure(reason)
        live = bool(change == results.NO_PREROLL)
        self._sink.set_property("drop", live)
        self._pipeline.set_state(self._gst.State.PLAYING)
        return live

    def _pull(self, deadline_s: float) -> Any:
        """The next sample; None at the end of the stream."""
        while True:
            self.check()
            sample = self._sink.try_pull_sample(POLL_NS)
            reason = self._reported()
            if sample is not None:
                return sample
            if reason is not None and self._is_open_file:
                self.warnings.append(f"file is damaged: {reason}")
                return None
            if reason is None and self._sink.is_eos():
                return None
            if reason is None and time.monotonic() >= deadline_s:
                reason = "sends nothing any more" if hasattr(self, "info") else "no picture in time"
            if reason is not None:
                raise self._failure(reason)

    def _reported(self) -> str | None:
        """The first error that the pipeline has reported.

        It also empties the bus, which would otherwise grow for as long as the pipeline plays.
        """
        message = self._bus.pop_filtered(self._gst.MessageType.ERROR)
        if message is not None and self._error is None:
            self._error = masked(f"{message.src.get_name()}: {message.parse_error()[0].message}", of=self._text)
        return self._error

    def _failure(self, reason: str) -> SourceError:
        return SourceError(f"GStreamer: {masked(reason, of=self._text).strip()}", remedy=self._remedy(reason))

    def _remedy(self, reason: str) -> str:
        if missing := re.search(r'no element "([^"]+)"', reason):
            return (
                f"check the name (gst-inspect-1.0 {missing[1]}), or install its plugin: sudo apt install {PLUGINS}, "
                "on a Jetson also nvidia-l4t-gstreamer"
            )
        if re.search(r"missing a plug-in|could not link|not-negotiated|Internal data stream error", reason):
            on_jetson = re.search(r"NVMM|\bnv\w+", self._text)
            return f"{_IN_MEMORY_JETSON if on_jetson else _IN_MEMORY}; try it: {self._launch()}"
        return f"try it: {self._launch()}"

    def _launch(self) -> str:
        return f"gst-launch-1.0 {masked(_OWN_APPSINK.sub('', self._text))} ! fakesink"

    def _glib_error(self) -> type[Exception]:
        error: type[Exception] = importlib.import_module("gi.repository.GLib").Error
        return error

    def _describe(self, sample: Any, live: bool) -> SourceInfo:
        layout = self._layout(sample)
        info = self._video.VideoInfo.new_from_caps(sample.get_caps())
        return SourceInfo(
            name=masked(self._text),
            width=layout.width,
            height=layout.height,
            fps=info.fps_n / info.fps_d if info.fps_d else 0.0,
            frame_count=None,
            live=live,
            codec=f"GStreamer {layout.format}",
        )

    def _pixels(self, sample: Any) -> NDArray[np.uint8] | Nv12Frame | None:
        layout, buffer = self._layout(sample), sample.get_buffer()
        mapped, view = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            return None
        try:
            data = np.frombuffer(bytes(view.data), np.uint8)  # ours: the buffer goes back to its pool
        finally:
            buffer.unmap(view)
        return layout.pixels(data)

    def _layout(self, sample: Any) -> PictureLayout:
        info = self._video.VideoInfo.new_from_caps(sample.get_caps())
        where = self._video.buffer_get_video_meta(sample.get_buffer()) or info  # decoders pad their rows
        is_labelled = sample.get_caps().get_structure(0).has_field("colorimetry")  # else `info` guesses by the height
        kind, matrix = info.finfo.name, info.colorimetry.matrix.value_nick if is_labelled else "bt601"
        if matrix not in MATRICES and kind in ("NV12", "I420"):
            raise SourceError(
                f"GStreamer: pictures of colour matrix {matrix}, only {' and '.join(MATRICES)} are known",
                remedy="end the pipeline in: ! videoconvert ! video/x-raw,format=BGR",
            )
        return PictureLayout(
            format=kind,
            width=info.width,
            height=info.height,
            strides=tuple(where.stride),
            offsets=tuple(where.offset),
            matrix=MATRICES.get(matrix, "bt601"),
            full_range=info.colorimetry.range.value_nick == "0-255",
        )


def import_gstreamer() -> tuple[Any, Any]:
    """`gi.repository.Gst`, started, and `gi.repository.GstVideo`.

    Raises:
        EnvironmentFailure: PyGObject or GStreamer's descriptions for it are missing.
    """
    try:
        gi = importlib.import_module("gi")
        for name in NAMESPACES:
            gi.require_version(name, "1.0")
        gst, _, video = (importlib.import_module(f"gi.repository.{name}") for name in NAMESPACES)
    except (ImportError, ValueError) as exc:  # ValueError: no such namespace
        raise import_failure(
            "PyGObject",
            exc,
            what="a GStreamer pipeline needs PyGObject and GStreamer",
            remedy=f"sudo apt install {PACKAGES}, in an environment made with: python3 -m venv --system-site-packages",
        ) from exc
    gst.init(None)
    return gst, video


def _camera_frame(pixels: NDArray[np.uint8] | Nv12Frame, *, index: int, seconds: float, planar: bool) -> CameraFrame:
    if not isinstance(pixels, Nv12Frame):
        return CameraFrame(index=index, seconds=seconds, image_bgr=np.ascontiguousarray(pixels))
    if planar:
        return PlanarFrame(index=index, seconds=seconds, planes=pixels, convert=lambda: picture_from_nv12(pixels))
    return CameraFrame(index=index, seconds=seconds, image_bgr=picture_from_nv12(pixels))
