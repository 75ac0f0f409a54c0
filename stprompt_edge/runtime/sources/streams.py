"""Which stream of a container is watched, whether it is live, and how fast its frames come."""

from __future__ import annotations

from typing import Any

from av.stream import Disposition

from stprompt_edge.errors import SourceError

TEXT_ART_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg draws a .txt file as a video
RATELESS_FORMATS = frozenset({"mpjpeg", "mjpeg", "mjpeg_2000", "image2pipe", "jpeg_pipe"})  # FFmpeg assumes 25 fps
_BARE_FORMATS = frozenset({"h264", "hevc", "vvc", "m4v", "mpegvideo", "obu"})  # a codec's data without a container
CLOCKLESS_FORMATS = RATELESS_FORMATS | _BARE_FORMATS  # no time stamps: FFmpeg counts frames
CODED_ORDER_FORMATS = frozenset({"avi", "mpegvideo"})  # stamps count packets: they say when one is decoded, not shown
BROADCAST_FORMATS = frozenset({"rtsp"})  # live whatever length they state: cameras state some
PLAYLIST_FORMATS = frozenset({"hls", "dash"})  # a recording says how long it is, a broadcast does not
MAX_PLAUSIBLE_FPS = 1000.0  # RTSP streams without a rate report their 90 kHz clock
RATE_TOLERANCE = 0.1  # what the container says stands, if the median distance of frames is so near
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

_PICTURE = "a cover picture or thumbnails"


def video_stream(container: Any, name: str, wanted: int | None = None) -> Any:
    """The stream to watch: the wanted one, or the one that a player would show.

    As FFmpeg chooses: no cover or thumbnail, more than one frame, marked as default, the larger picture, the first.

    Args:
        container: open.
        name: of the source, for messages.
        wanted: its index in the container, as ffprobe counts; None to choose.

    Raises:
        SourceError: no such stream, none with moving pictures, or one that PyAV cannot decode.
    """
    if container.format.name in TEXT_ART_FORMATS:
        raise SourceError(f"{name} is text, not a video", remedy="give a video file")
    moving = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if wanted is not None:
        chosen = next((stream for stream in container.streams.video if stream.index == wanted), None)
        if chosen is None:
            raise SourceError(f"{name} has no video stream {wanted}", remedy=f"it has: {described(container)}")
    elif not moving:
        kinds = {_PICTURE if stream.type == "video" else stream.type for stream in container.streams}
        has = " and ".join(sorted(kinds)) or "nothing"
        raise SourceError(f"{name} has no video stream, only {has}", remedy="give a file or stream with pictures")
    else:
        chosen = max(moving, key=_preference)
    if chosen.codec_context is None:  # decoding it anyway crashes the process (PyAV issue 2344)
        remedy = "record it again, or convert it to H.264 on the machine that made it"
        raise SourceError(f"{name}: damaged in its first frame, or of an unknown codec", remedy=remedy)
    return chosen


def choice_warning(container: Any, chosen: Any) -> str | None:
    """A line for the user where a container holds other moving pictures than those that are watched."""
    moving = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if len(moving) < 2:
        return None
    return f"of the streams {described(container)}, {chosen.index} is watched: --stream picks another"


def described(container: Any) -> str:
    """The streams of a container in a few words each: `0 h264 320x180, 1 audio aac, 2 cover picture`."""
    return ", ".join(f"{stream.index} {_described(stream)}" for stream in container.streams)


def _described(stream: Any) -> str:
    context = stream.codec_context
    if stream.type == "video" and stream.disposition & _PICTURES:
        return _PICTURE
    codec = "of an unknown codec" if context is None else context.name
    if stream.type != "video":
        return f"{stream.type} {codec}"
    return codec if context is None else f"{codec} {context.width}x{context.height}"


def _preference(stream: Any) -> tuple[bool, bool, int, int, int]:
    context = stream.codec_context
    area = 0 if context is None else context.width * context.height
    return stream.frames != 1, bool(stream.disposition & Disposition.default), area, stream.frames, -stream.index


def discard(stream: Any) -> None:
    """Have FFmpeg throw the packets of a stream away, where PyAV can tell it to (from 18 on)."""
    if hasattr(stream, "discard"):
        stream.discard = type(stream.discard).all


def is_endless(container: Any) -> bool:
    """Is this a broadcast, by what its protocol says? A recording has a duration, or a size: it is read to its end."""
    if container.format.name in BROADCAST_FORMATS:
        return True
    if container.duration is not None:
        return False
    return container.format.name in PLAYLIST_FORMATS or container.size <= 0


def stated_rate(stream: Any) -> float:
    """Frames per second as the container says; 0.0 where it does not."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if rate <= MAX_PLAUSIBLE_FPS else 0.0


def believed_rate(stated: float, measured: float) -> float:
    """The stated rate, unless the first frames come at quite another; either is 0.0 where unknown."""
    if not measured or (stated and abs(measured / stated - 1) <= RATE_TOLERANCE):
        return stated
    return round(measured, 3)


def frame_count(stream: Any, fps: float) -> int | None:
    """About how many frames a stream holds; None where nothing tells. A count that its duration denies does not."""
    seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
    by_time = round(seconds * fps) or None
    if stream.frames and by_time and not 0.5 <= stream.frames / by_time <= 1.2:
        return by_time
    return stream.frames or None
