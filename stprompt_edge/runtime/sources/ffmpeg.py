"""What FFmpeg opens, through PyAV: video files, URLs and V4L2 cameras."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import av
import av.error

from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.planes import camera_frame, upright_size
from stprompt_edge.runtime.records import SourceInfo
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.clock import ASSUMED_FPS, Clock, FrameDistances, median_rate
from stprompt_edge.runtime.sources.connecting import without_address
from stprompt_edge.runtime.sources.container import open_container
from stprompt_edge.runtime.sources.extent import Extent
from stprompt_edge.runtime.sources.image_times import check_fps
from stprompt_edge.runtime.sources.losses import Spans, damage_warnings
from stprompt_edge.runtime.sources.streams import (
    CLOCKLESS_FORMATS,
    CODED_ORDER_FORMATS,
    RATELESS_FORMATS,
    believed_rate,
    choice_warning,
    discard,
    frame_count,
    is_endless,
    stated_rate,
    video_stream,
)
from stprompt_edge.runtime.sources.trust import Mark, Trust, Verdict

FRAME_THREADS_MAX_PIXELS = 3840 * 2160  # frame threads hold one decoded frame per core: above UHD use slice threads
LOOKED_AT_PACKETS, LOOKED_AT_BYTES = 100, 16 * 2**20  # of a file, before it is decoded: how far apart its frames are
ARRIVING_PACKETS, ARRIVING_SECONDS = 10, 2.0  # the same of a live stream without time stamps
ENDED_BY_ERROR = frozenset({"mpjpeg"})  # a stored multipart stream has no closing boundary, which FFmpeg calls invalid
FIRST_FRAME_SECONDS = 30.0  # of a live stream; some send a key frame every 10 s
MISSING_TAIL_SECONDS = 0.5  # a container's duration may round, or follow a longer track, by this much
UNDECODED_SECONDS = 0.5  # of packets before a file's first frame, or behind its last one


class VideoSource(Source):
    """Whatever FFmpeg opens.

    Args:
        name: for people; without a password.
        url: for FFmpeg.
        live: drop frames when late; None: as the protocol says, see `streams.is_endless`.
        stream: index of the stream to watch, as ffprobe counts; None for the one that a player would show.
        fps: of a recording without time stamps; None: as it says or, where it does not, 25, and `info` says so.
        open_options: of `av.open`.

    Raises:
        SourceError: it cannot be opened, or holds no picture.
        UsageError: `fps` for what has time stamps.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        live: bool | None,
        stream: int | None = None,
        fps: float | None = None,
        **open_options: Any,
    ) -> None:
        super().__init__()
        self._name = name
        self._container = open_container(name, url, **open_options)
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._stream = video_stream(self._container, name, stream)
            self.finite = not is_endless(self._container)
            self._live = not self.finite if live is None else live
            if self._live:
                self.check = partial(self._refuse_late_start, time.monotonic() + FIRST_FRAME_SECONDS)
            clockless = self._container.format.name in CLOCKLESS_FORMATS
            self._by_arrival = self._live and clockless
            if fps is not None:
                check_fps(fps)
                if self._by_arrival or not clockless:
                    raise UsageError(f"{name} has times of its own, --fps cannot change them", remedy="leave it out")
            self._given_fps = fps
            self._in_coded_order = self._container.format.name in CODED_ORDER_FORMATS
            self._set_up_decoder()
            self._tick_s = float(self._stream.time_base)
            self._trust, self._extent = Trust(), Extent(self._stream)
            self._distances, self._untrusted = FrameDistances(), Spans()
            self._broken_off: av.error.FFmpegError | None = None
            packets = self._packets()
            ahead, rate = self._look_ahead(packets)
            self._decoded = self._decode(chain(ahead, packets))
            self._first = next(self._decoded, None)
            if self._first is None:
                remedy = "it is damaged from its start: record, send or copy it again"
                raise SourceError(f"no frame of {name} could be decoded", remedy=remedy)
            self.check = lambda: None
            self.info = self._describe(self._first[0], fps or rate)
            if stream is None and (line := choice_warning(self._container, self._stream)):
                self.warnings.append(line)
            on_failure.pop_all()

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        index, ended = -1, False
        try:
            for frame, verdict, seconds in self._timed():
                index += 1
                self._distances.add(seconds)
                self._untrusted.add(seconds, verdict is not Verdict.WHOLE)
                if self._is_whole(verdict) & wanted(index):  # both are asked about every frame
                    yield camera_frame(frame, index=index, seconds=seconds, planar=self.planar(index))
            ended = True
        finally:
            self._warn_of_losses(index + 1, to_the_end=ended)

    def close(self) -> None:
        self._decoded, self._broken_off = iter(()), None  # they lead back here: a decoder's memory is not gc's to keep
        self._container.close()

    def _timed(self) -> Iterator[tuple[av.VideoFrame, Verdict, float]]:
        """Every frame that the decoder gives, with its verdict and its seconds."""
        frame_s = 1 / (self.info.fps or ASSUMED_FPS)
        start = self._container.start_time
        from_first = start is None or self._live or self._in_coded_order
        clock = Clock(frame_s, None if from_first else start / av.time_base)
        waiting: deque[tuple[av.VideoFrame, Verdict]] = deque()
        first = [] if self._first is None else [self._first]
        self._first = None
        for frame, verdict in chain(first, self._decoded):
            waiting.append((frame, verdict))
            for seconds in clock.push(self._stamp(frame)):
                yield *waiting.popleft(), seconds
        for seconds in clock.flush():
            yield *waiting.popleft(), seconds

    def _stamp(self, frame: av.VideoFrame) -> float | None:
        """Seconds on the stream's own time line, or, without one, when it arrived."""
        if self._by_arrival and isinstance(frame.opaque, Mark):
            return frame.opaque.arrived_s
        if self._given_fps is not None:
            return None
        stamp = frame.dts if self._in_coded_order else frame.pts
        return None if stamp is None else stamp * self._tick_s

    def _decode(self, packets: Iterable[av.Packet[Any] | None]) -> Iterator[tuple[av.VideoFrame, Verdict]]:
        for packet in packets:
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.error.EOFError:  # flushed twice
                break
            except av.error.FFmpegError:  # the decoder's verdict on this packet; the next one may be fine
                self.losses.undecodable_packets += 1
                if packet is not None and isinstance(packet.opaque, Mark):
                    self._trust.distrust(packet.opaque)
                continue
            for frame in frames:
                self._extent.add_frame(frame)
                yield from self._trust.judge(frame)
        yield from self._trust.flush()
        if (exc := self._broken_off) is not None:
            reason = "sends nothing any more" if isinstance(exc, av.error.ExitError) else exc.strerror
            cause = without_address(exc, self._name)
            raise SourceError(f"{self._name}: {reason}", remedy="check the camera and its network") from cause

    def _packets(self) -> Iterator[av.Packet[Any] | None]:
        """Packets of the video stream, marked, then None, which makes the decoder give what it still holds."""
        try:
            for packet in self._container.demux():  # sound too: it says how far a file goes
                self.check()
                if packet.size:
                    self._extent.add(packet)
                    if packet.stream_index == self._stream.index:
                        packet.opaque = self._trust.mark(
                            key=packet.is_keyframe,
                            corrupt=packet.is_corrupt,
                            pts=packet.pts,
                            dts=packet.dts,
                            arrived_s=time.monotonic(),
                        )
                        yield packet
        except av.error.FFmpegError as exc:
            if self._live or isinstance(exc, av.error.ExitError):
                self._broken_off = exc
            elif self._container.format.name not in ENDED_BY_ERROR and not self._is_at_end():
                self.losses.undecodable_packets += 1
        yield None

    def _refuse_late_start(self, deadline_s: float) -> None:
        if time.monotonic() > deadline_s:
            what = f"{self._name}: no frame could be decoded in {FIRST_FRAME_SECONDS:g} s"
            raise SourceError(what, remedy="check that it plays with ffplay")

    def _set_up_decoder(self) -> None:
        context = self._stream.codec_context
        small = context.width * context.height <= FRAME_THREADS_MAX_PIXELS
        context.thread_type = "AUTO" if small and not self._live else "SLICE"  # frame threads delay live frames
        context.copy_opaque = True  # a packet's mark comes out with its frame
        for stream in self._container.streams:
            if stream.index != self._stream.index and (self._live or stream.type == "video"):
                discard(stream)  # not even downloaded, where FFmpeg can choose

    def _look_ahead(self, packets: Iterator[av.Packet[Any] | None]) -> tuple[list[av.Packet[Any] | None], float]:
        """The first packets, to be decoded later, and the frame rate that they show or the container states."""
        stated = stated_rate(self._stream)
        if self._live and not self._by_arrival:
            return [], stated
        ahead: list[av.Packet[Any] | None] = []
        size, started_s = 0, time.monotonic()
        for packet in packets:
            ahead.append(packet)
            size += packet.size if packet is not None else 0
            if self._by_arrival:
                if len(ahead) >= ARRIVING_PACKETS or time.monotonic() - started_s > ARRIVING_SECONDS:
                    break
            elif len(ahead) >= LOOKED_AT_PACKETS or size > LOOKED_AT_BYTES:
                break
        seen = [packet for packet in ahead if packet is not None]
        if self._by_arrival:
            marks = (packet.opaque for packet in seen)
            return ahead, median_rate([mark.arrived_s for mark in marks if isinstance(mark, Mark)])
        tick = self._stream.time_base
        stamps = [float(packet.pts * tick) for packet in seen if packet.pts is not None]
        durations = sorted(packet.duration for packet in seen if packet.duration)
        by_duration = float(1 / (durations[len(durations) // 2] * tick)) if durations else 0.0
        return ahead, believed_rate(stated, median_rate(stamps) if len(stamps) > 2 else by_duration)

    def _describe(self, frame: av.VideoFrame, fps: float) -> SourceInfo:
        width, height = upright_size(frame)
        return SourceInfo(
            name=self._name,
            width=width,
            height=height,
            fps=fps,
            frame_count=None if self._live else frame_count(self._stream, fps),
            live=self._live,
            codec=self._stream.codec_context.name,
            fps_assumed=self._given_fps is None and not self._live and self._container.format.name in RATELESS_FORMATS,
        )

    def _is_whole(self, verdict: Verdict) -> bool:
        self.losses.corrupt_frames += verdict is Verdict.CORRUPT
        self.losses.concealed_frames += verdict is Verdict.CONCEALED
        return verdict is Verdict.WHOLE

    def _truncation_warning(self, frames: int) -> str | None:
        """A file whose time line ends later than what was read of it; what a header counts is no proof."""
        if self._live:
            return None
        whole_s, read_s, _ = self._length()
        if not whole_s or self._is_at_end():
            return f"file is truncated: its last frame, at {read_s:.1f} s, is cut" if self._extent.is_cut else None
        return f"file is truncated: {frames} frames decoded, up to {read_s:.1f} s of {whole_s:.1f} s"

    def _is_at_end(self) -> bool:
        """Has as much been read as the file says that it holds?"""
        whole_s, read_s, tail_s = self._length()
        return 0 < whole_s <= read_s + tail_s

    def _length(self) -> tuple[float, float, float]:
        """Seconds that the file says it holds (0.0: nothing), that packets reached, and that these may lack."""
        frame_s = 1 / (stated_rate(self._stream) or ASSUMED_FPS)
        if self._stream.duration:
            whole_s = float(self._stream.duration * self._stream.time_base)
            return whole_s, self._extent.video_end_s, max(2 * frame_s, 0.1)
        whole_s = (self._container.duration or 0) / av.time_base  # of all streams, of which another may be the longest
        return whole_s, self._extent.end_s, max(2 * frame_s, MISSING_TAIL_SECONDS)

    def _head_warning(self) -> str | None:
        missing_s = self._extent.late_s
        if self._live or missing_s < UNDECODED_SECONDS:
            return None
        return f"file begins between key frames: its first {missing_s:.2f} s cannot be decoded"

    def _warn_of_losses(self, frames: int, *, to_the_end: bool) -> None:
        if to_the_end and not self._live and (tail_s := self._extent.undecoded_s) > UNDECODED_SECONDS:
            self._distances.end(tail_s)
        if not self._by_arrival:  # a network delivers in bursts
            self.losses.missing_frames = self._distances.missing_frames
        found = [self._head_warning(), self._truncation_warning(frames) if to_the_end else None]
        self.warnings += [line for line in found if line]
        self.warnings += damage_warnings(self.losses, self._distances, self._untrusted, live=self._live)
