"""From what the user typed to an open source."""

from __future__ import annotations

import os
from pathlib import Path

import av

from stprompt_edge.errors import SourceError
from stprompt_edge.masking import masked_source
from stprompt_edge.runtime.addresses import (
    LIVE_SCHEMES,
    file_path,
    parse_address,
    refuse_half_address,
    scheme_of,
)
from stprompt_edge.runtime.cameras import is_pipeline, nearest_source
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.ffmpeg import VideoSource, open_container
from stprompt_edge.runtime.sources.images import IMAGE_SUFFIXES, ImageFolderSource
from stprompt_edge.runtime.sources.streams import frame_count, stated_rate, video_stream


def open_source(
    source: str,
    *,
    stream: int | None = None,
    live: bool | None = None,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 10.0,
) -> Source:
    """Opens a file, a folder of jpg, png or bmp images, a URL, `/dev/videoN` or a pipeline; decodes its first frame.

    Args:
        source: `CameraConfig.source`.
        stream: of a file or URL with several, the index of the one to watch, as ffprobe counts; None to choose.
        live: drop frames when late, or never; None: as the kind of source and its protocol say.
        open_timeout_s: seconds a URL or pipeline may take to answer.
        read_timeout_s: seconds it may then send nothing.

    Raises:
        SourceError: it does not exist, may not be read, is no video, or has no decodable frame.
        EnvironmentFailure: it is a GStreamer pipeline, and this machine has no GStreamer.
    """
    timeout_s = (open_timeout_s, read_timeout_s)
    if is_pipeline(source) and not os.path.exists(source):
        from stprompt_edge.runtime.sources.gstreamer import GStreamerSource  # needs the system's GStreamer

        return GStreamerSource(source, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s)
    if source.startswith("/dev/video"):
        if not os.path.exists(source):
            cameras = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise SourceError(f"no camera at {source}", remedy=f"connect one; cameras found: {cameras}")
        return VideoSource(source, source, live=live is not False, stream=stream, format="v4l2", timeout=timeout_s)
    scheme = scheme_of(source)
    if scheme not in (None, "file") and not os.path.exists(source):
        url = str(parse_address(source))
        options = {"rtsp_transport": "tcp"} if scheme in ("rtsp", "rtsps") else {}  # UDP loses packets silently
        if live is None and scheme in LIVE_SCHEMES:
            live = True
        return VideoSource(masked_source(source), url, live=live, stream=stream, options=options, timeout=timeout_s)
    path = file_path(source)
    if not os.path.exists(path):
        refuse_half_address(source)
    if path.is_dir():
        return ImageFolderSource(source, path)
    _check_file(path)
    url = f"file:{path}"  # since FFmpeg reads `a:b.mp4` as protocol `a`
    return VideoSource(source, url, live=bool(live), stream=stream)


def expected_frames(path: Path) -> int | None:
    """About how many frames a video file or image folder holds, without decoding; None where nothing tells."""
    try:
        if path.is_dir():
            return sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in path.iterdir()) or None
        _check_file(path)
        with open_container(str(path), f"file:{path}") as container:
            stream = video_stream(container, str(path))
            fps, seconds = stated_rate(stream), (container.duration or 0) / av.time_base
            return frame_count(stream, fps) or round(seconds * fps) or None
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
