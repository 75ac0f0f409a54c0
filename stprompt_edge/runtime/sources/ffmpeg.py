"""What FFmpeg opens, through PyAV: video files, URLs and V4L2 cameras."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.planes import camera_frame, quarter_turns
from stprompt_edge.runtime.records import CameraFrame, SourceInfo
from stprompt_edge.runtime.sources.base import ASSUMED_FPS, Clock, Source
from stprompt_edge.runtime.sources.connecting import connection_failure, without_address

TEXT_ART_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg draws a .txt file as a video
FRAME_THREADS_MAX_PIXELS = 3840 * 2160  # frame threads hold one decoded frame per core: above UHD use slice threads
_METADATA_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
MAX_PLAUSIBLE_FPS = 1000.0  # RTSP streams without a rate report their 90 kHz clock
MISSING_TAIL_SECONDS = 1.0  # a container's duration may round, or follow a longer audio track, by this much


class VideoSource(Source):
    """Whatever FFmpeg opens. `live=None` means: live if the container has no duration."""

    def __init__(self, name: str, url: str, *, live: bool | None, **open_options: Any) -> None:
        super().__init__()
        self._name = name
        self._container = open_container(name, url, **open_options)
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._live = self._container.duration is None if live is None else live
            self._stream = video_stream(self._container, name)
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
                cause = without_address(exc, self._name)
                raise SourceError(f"{self._name}: {reason}", remedy="check the camera and its network") from cause
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
        elif duration_s - seconds > max(MISSING_TAIL_SECONDS, 2 / (self.info.fps or ASSUMED_FPS)):
            lost = f"{frames} frames decoded, up to {seconds:.1f} s of {duration_s:.1f} s"
        if self.undecodable_packets:
            lost = f"{lost or f'{frames} frames decoded'}, {self.undecodable_packets} packets undecodable"
        if lost:
            self.warnings.append(f"file is {'damaged' if self.undecodable_packets else 'truncated'}: {lost}")


def open_container(name: str, url: str, **options: Any) -> Any:
    """`av.open`, with FFmpeg's errors in our words. PyAV keeps FFmpeg's log off stderr unless told otherwise."""
    started_s = time.monotonic()
    try:
        return av.open(url, **_METADATA_OPTIONS, **options)
    except (av.error.FFmpegError, ValueError) as exc:
        open_timeout_s = options.get("timeout", (float("inf"),))[0]
        timed_out = time.monotonic() - started_s >= open_timeout_s
        raise _open_failure(name, url, exc, timed_out=timed_out) from without_address(exc, name)


def _open_failure(name: str, url: str, exc: Exception, *, timed_out: bool) -> SourceError:
    if timed_out or isinstance(exc, av.error.ExitError):  # an interrupted RTSP handshake calls itself invalid data
        return SourceError(f"{name}: no answer in time", remedy="check the address, the port and the network")
    if refused := connection_failure(name, url, exc):
        return refused
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


def video_stream(container: Any, name: str) -> Any:
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
