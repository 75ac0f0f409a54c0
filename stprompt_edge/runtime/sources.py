"""Where frames come from: a video file, a folder of images, a URL, a V4L2 camera or a GStreamer pipeline.

`resolve_source` turns what the user typed into a `CameraConfig`; `open_source` turns its `source` into a `Source`.
A `Source` is one open connection and ends when the connection ends.
"""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import cv2
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.cameras import (
    LIVE_SCHEMES,
    URL_SCHEMES,
    CameraConfig,
    is_pipeline,
    load_camera,
    masked_url,
    nearest_source,
    resolve_source,
)
from stprompt_edge.runtime.planes import camera_frame, quarter_turns
from stprompt_edge.runtime.records import CameraFrame, SourceInfo

__all__ = ["CameraConfig", "Source", "expected_frames", "load_camera", "open_source", "resolve_source"]

IMAGE_FOLDER_FPS = 25.0  # a folder of images has no clock: PAL's rate is assumed
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
TEXT_ART_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg draws a .txt file as a video
FRAME_THREADS_MAX_PIXELS = 3840 * 2160  # frame threads hold one decoded frame per core: above UHD use slice threads
_METADATA_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
MAX_PLAUSIBLE_FPS = 1000.0  # RTSP streams without a rate report their 90 kHz clock
MISSING_TAIL_SECONDS = 1.0  # a container's duration may round, or follow a longer audio track, by this much


class Source(ABC):
    """An open source of camera frames; a context manager that yields its frames once, in order.

    Attributes:
        info: what is known of the source.
        planar: which camera frames to give in their decoder's planes where it can (see `PlanarFrame`), instead of as
            pictures; none unless somebody sets it.
        undecodable_packets: damaged packets or images so far.
        warnings: lines for the user; complete when `frames` has ended.
    """

    def __init__(self) -> None:
        self.info: SourceInfo
        self.planar: Callable[[int], bool] = lambda index: False
        self.undecodable_packets = 0
        self.warnings: list[str] = []

    @abstractmethod
    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        """Walks over all camera frames and yields those whose 0-based index is `wanted`.

        `CameraFrame.image_bgr` is [H, W, 3] uint8 BGR, upright, owned by the receiver; its size may change in a stream.
        `CameraFrame.seconds` starts at 0 with the first frame and always increases.

        Raises:
            SourceError: a URL or camera stopped sending; a file never raises, see `warnings`.
        """

    @abstractmethod
    def close(self) -> None:
        """Releases file, socket or device. May be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_source(source: str, *, open_timeout_s: float = 10.0, read_timeout_s: float = 10.0) -> Source:
    """Opens a file, a folder of jpg, png or bmp images, a URL, `/dev/videoN` or a pipeline; decodes its first frame.

    Args:
        source: `CameraConfig.source`.
        open_timeout_s: seconds a URL or pipeline may take to answer.
        read_timeout_s: seconds it may then send nothing.

    Raises:
        SourceError: it does not exist, may not be read, is no video, or has no decodable frame.
        EnvironmentFailure: it is a GStreamer pipeline, and this machine has no GStreamer.
    """
    timeout_s = (open_timeout_s, read_timeout_s)
    if is_pipeline(source) and not os.path.exists(source):
        from stprompt_edge.runtime.gstreamer import GStreamerSource  # imports this module

        return GStreamerSource(source, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s)
    if source.startswith("/dev/video"):
        if not os.path.exists(source):
            cameras = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise SourceError(f"no camera at {source}", remedy=f"connect one; cameras found: {cameras}")
        return VideoSource(source, source, live=True, format="v4l2", timeout=timeout_s)
    scheme = source.partition("://")[0]
    if scheme in URL_SCHEMES:
        options = {"rtsp_transport": "tcp"} if scheme in ("rtsp", "rtsps") else {}  # UDP loses packets silently
        live = True if scheme in LIVE_SCHEMES else None
        return VideoSource(masked_url(source), source, live=live, options=options, timeout=timeout_s)
    path = Path(re.sub(r"^file:(//)?", "", source))
    if path.is_dir():
        return ImageFolderSource(source, path)
    _check_file(path)
    return VideoSource(source, f"file:{path}", live=False)  # `file:` since FFmpeg reads `a:b.mp4` as protocol `a`


def expected_frames(path: Path) -> int | None:
    """About how many frames a video file or image folder holds, without decoding; None where nothing tells."""
    try:
        if path.is_dir():
            return sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in path.iterdir()) or None
        _check_file(path)
        with _open_container(str(path), f"file:{path}") as container:
            stream = _video_stream(container, str(path))
            seconds = (container.duration or 0) / av.time_base
            return stream.frames or round(seconds * float(stream.average_rate or 0)) or None
    except (SourceError, OSError):
        return None


def _check_file(path: Path) -> None:
    if not os.path.exists(path):
        raise SourceError(f"no such file: {path}", remedy=nearest_source(str(path), {}))
    if not path.is_file():
        return  # a named pipe: looking into it would take its bytes
    try:
        with path.open("rb"):
            pass
    except PermissionError as exc:
        raise SourceError(f"no permission to read {path}", remedy="give this user read access to the file") from exc
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes)", remedy="copy or record it again") from None


class VideoSource(Source):
    """Whatever FFmpeg opens. `live=None` means: live if the container has no duration."""

    def __init__(self, name: str, url: str, *, live: bool | None, **open_options: Any) -> None:
        super().__init__()
        self._name = name
        self._container = _open_container(name, url, **open_options)
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._live = self._container.duration is None if live is None else live
            self._stream = _video_stream(self._container, name)
            context = self._stream.codec_context
            small = context.width * context.height <= FRAME_THREADS_MAX_PIXELS
            context.thread_type = "AUTO" if small and not self._live else "SLICE"  # frame threads delay live frames
            self._discarded = 0
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                remedy = "it is damaged from its start: record, send or copy it again"
                raise SourceError(f"no frame of {name} could be decoded", remedy=remedy)
            self.info = self._describe(self._first)
            on_failure.pop_all()

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        clock = Clock(self._stream.time_base, self.info.fps)
        index, seconds = -1, 0.0
        frame, self._first = self._first, None
        while frame is not None:
            index, seconds = index + 1, clock.seconds(frame.pts)
            if wanted(index):
                yield camera_frame(frame, index=index, seconds=seconds, planar=self.planar(index))
            frame = next(self._decoded, None)
        self._warn_of_losses(index + 1, seconds)

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.error.EOFError:  # flushed twice
                return
            except av.error.FFmpegError:  # the decoder's verdict on this packet; the next one may be fine
                self.undecodable_packets += 1
                continue
            yield from frames

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets of the video stream, then None, which makes the decoder give what it still holds."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._discarded += packet.is_discard
                    yield packet
        except av.error.FFmpegError as exc:
            if self._live or isinstance(exc, av.error.ExitError):
                reason = "sends nothing any more" if isinstance(exc, av.error.ExitError) else exc.strerror
                raise SourceError(f"{self._name}: {reason}", remedy="check the camera and its network") from exc
            self.undecodable_packets += 1
        yield None

    def _describe(self, frame: av.VideoFrame) -> SourceInfo:
        fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        turned = quarter_turns(frame) % 2
        return SourceInfo(
            name=self._name,
            width=frame.height if turned else frame.width,
            height=frame.width if turned else frame.height,
            fps=fps if fps <= MAX_PLAUSIBLE_FPS else 0.0,
            frame_count=None if self._live else self._stream.frames or None,
            live=self._live,
            codec=self._stream.codec_context.name,
        )

    def _warn_of_losses(self, frames: int, seconds: float) -> None:
        if self._live:
            return
        duration_s = (self._container.duration or 0) / av.time_base
        lost: str | None = None
        if self.info.frame_count is not None:
            if frames + self._discarded < self.info.frame_count:  # an edit list hides frames on purpose
                lost = f"{frames} of about {self.info.frame_count} frames decoded"
        elif duration_s - seconds > max(MISSING_TAIL_SECONDS, 2 / (self.info.fps or IMAGE_FOLDER_FPS)):
            lost = f"{frames} frames decoded, up to {seconds:.1f} s of {duration_s:.1f} s"
        if self.undecodable_packets:
            lost = f"{lost or f'{frames} frames decoded'}, {self.undecodable_packets} packets undecodable"
        if lost:
            self.warnings.append(f"file is {'damaged' if self.undecodable_packets else 'truncated'}: {lost}")


def _open_container(name: str, url: str, **options: Any) -> Any:
    """`av.open`, with FFmpeg's errors in our words. PyAV keeps FFmpeg's log off stderr unless told otherwise."""
    started_s = time.monotonic()
    try:
        return av.open(url, **_METADATA_OPTIONS, **options)
    except (av.error.FFmpegError, ValueError) as exc:
        open_timeout_s = options.get("timeout", (float("inf"),))[0]
        raise _open_failure(name, url, exc, timed_out=time.monotonic() - started_s >= open_timeout_s) from exc


def _open_failure(name: str, url: str, exc: Exception, *, timed_out: bool) -> SourceError:
    if timed_out or isinstance(exc, av.error.ExitError):  # an interrupted RTSP handshake calls itself invalid data
        return SourceError(f"{name}: no answer in time", remedy="check the address, the port and the network")
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        return SourceError(f"{name}: user name or password refused", remedy="write them as ://USER:PASSWORD@host/")
    if not isinstance(exc, av.error.InvalidDataError):
        reason = getattr(exc, "strerror", None) or str(exc)
        return SourceError(f"cannot open {name}: {reason}", remedy="check the address, and that the device is on")
    path = Path(url.removeprefix("file:"))
    if path.is_file() and _lacks_mp4_index(path):
        remedy = "repair it with a tool such as untrunc; record to mkv or fragmented mp4 to survive interruptions"
        return SourceError(f"{name}: the file's index is missing (interrupted recording)", remedy=remedy)
    return SourceError(f"{name} is not a video that FFmpeg knows", remedy="check that it plays with ffplay")


def _lacks_mp4_index(path: Path) -> bool:
    """Is this an ISO media file (mp4, mov) whose top-level boxes hold no `moov`?"""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        position, end = 0, path.stat().st_size
        while position + 8 <= end:
            file.seek(position)
            header = file.read(16)
            if header[4:8] == b"moov":
                return False
            size = int.from_bytes(header[:4], "big")
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(header[8:], "big")
            position = position + size if size >= 8 else end  # 0: the box reaches to the end of the file
    return True


def _video_stream(container: Any, name: str) -> Any:
    if container.format.name in TEXT_ART_FORMATS:
        raise SourceError(f"{name} is text, not a video", remedy="give a video file")
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]  # not cover art
    if not pictures:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise SourceError(f"{name} has no video stream, only {kinds}", remedy="give a file or stream with pictures")
    if pictures[0].codec_context is None:  # decoding it anyway crashes the process (PyAV issue 2344)
        remedy = "record it again, or convert it to H.264 on the machine that made it"
        raise SourceError(f"{name}: damaged in its first frame, or of an unknown codec", remedy=remedy)
    return pictures[0]


class Clock:
    """Seconds since the first frame; a missing or repeated time stamp becomes the previous one plus a frame."""

    def __init__(self, time_base: Fraction, fps: float) -> None:
        self._time_base = time_base
        self._frame_s = 1 / (fps or IMAGE_FOLDER_FPS)
        self._origin: int | None = None
        self._last_s: float | None = None

    def seconds(self, pts: int | None) -> float:
        if self._last_s is None:
            self._origin, self._last_s = pts, 0.0
            return 0.0
        if self._origin is None and pts is not None:  # the first frame had no time stamp
            self._origin = pts - round((self._last_s + self._frame_s) / self._time_base)
        now_s = -1.0 if pts is None or self._origin is None else float((pts - self._origin) * self._time_base)
        self._last_s = now_s if now_s > self._last_s else self._last_s + self._frame_s
        return self._last_s


class ImageFolderSource(Source):
    """The images of a folder, `frame2` before `frame10`; `index` counts damaged images too."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__()
        try:
            paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        except PermissionError as exc:
            raise SourceError(f"no permission to read {folder}", remedy="give this user access to the folder") from exc
        self._paths = sorted(paths, key=_natural_order)
        if not self._paths:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise SourceError(f"no images ({suffixes}) in folder {folder}", remedy="give a folder of images or a video")
        first = next((image for path in self._paths if (image := _read_image(path)) is not None), None)
        if first is None:
            raise SourceError(f"no image of the {len(self._paths)} in {folder} is readable", remedy="copy them again")
        height, width = first.shape[:2]
        self.info = SourceInfo(
            name=name,
            width=width,
            height=height,
            fps=IMAGE_FOLDER_FPS,
            frame_count=len(self._paths),
            live=False,
            codec="images",
        )

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        damaged: list[str] = []
        for index, path in enumerate(self._paths):
            if not wanted(index):
                continue
            image = _read_image(path)
            if image is None:
                self.undecodable_packets += 1
                damaged.append(path.name)
            else:
                yield CameraFrame(index=index, seconds=index / IMAGE_FOLDER_FPS, image_bgr=image)
        if damaged:
            self.warnings.append(f"skipped {len(damaged)} unreadable images, the first is {damaged[0]}")

    def close(self) -> None:
        """Nothing stays open between two images."""


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _read_image(path: Path) -> NDArray[np.uint8] | None:
    """[H, W, 3] uint8 BGR with EXIF rotation applied, or None."""
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):  # unreadable, or larger than OpenCV's limit
        return None
    return None if image is None else np.asarray(image, np.uint8)
