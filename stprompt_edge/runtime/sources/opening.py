"""From what the user typed to an open source."""

from __future__ import annotations

import os
import re
from pathlib import Path

import av

from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.runtime.cameras import LIVE_SCHEMES, URL_SCHEMES, is_pipeline, masked_url, nearest_source
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.ffmpeg import VideoSource, open_container, video_stream
from stprompt_edge.runtime.sources.images import ImageFolderSource, pictures_of


def open_source(
    source: str,
    *,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 10.0,
    fps: float | None = None,
    times: str | None = None,
) -> Source:
    """Opens a file, a folder of jpg, png or bmp images, a URL, `/dev/videoN` or a pipeline; decodes its first frame.

    Args:
        source: `CameraConfig.source`.
        open_timeout_s: seconds a URL or pipeline may take to answer.
        read_timeout_s: seconds it may then send nothing.
        fps, times: of a folder of images, see `ImageFolderSource`.

    Raises:
        SourceError: it does not exist, may not be read, is no video, or has no decodable frame.
        UsageError: `fps` or `times` cannot be, or the source is no folder of images and has a clock of its own.
        EnvironmentFailure: it is a GStreamer pipeline, and this machine has no GStreamer.
    """
    path = Path(re.sub(r"^file:(//)?", "", source))
    if os.path.isdir(path):
        return ImageFolderSource(source, path, fps=fps, times=times)
    if fps is not None or times is not None:
        option = "--fps" if fps is not None else "--times"
        remedy = "leave it out: videos and cameras have a clock of their own"
        raise UsageError(f"{option} is for image folders, and {masked_url(source)} is none", remedy=remedy)
    timeout_s = (open_timeout_s, read_timeout_s)
    if is_pipeline(source) and not os.path.exists(source):
        from stprompt_edge.runtime.sources.gstreamer import GStreamerSource  # needs the system's GStreamer

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
    _check_file(path)
    return VideoSource(source, f"file:{path}", live=False)  # `file:` since FFmpeg reads `a:b.mp4` as protocol `a`


def expected_frames(path: Path) -> int | None:
    """About how many frames a video file or image folder holds, without decoding; None where nothing tells."""
    try:
        if path.is_dir():
            return len(pictures_of(path)) or None
        _check_file(path)
        with open_container(str(path), f"file:{path}") as container:
            stream = video_stream(container, str(path))
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
