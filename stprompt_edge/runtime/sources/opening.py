"""From what the user typed to an open source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av

from stprompt_edge.errors import SourceError, UsageError
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
from stprompt_edge.runtime.sources.container import open_container
from stprompt_edge.runtime.sources.ffmpeg import VideoSource
from stprompt_edge.runtime.sources.images import ImageFolderSource, pictures_of
from stprompt_edge.runtime.sources.live import healing
from stprompt_edge.runtime.sources.streams import frame_count, stated_rate, video_stream


def open_source(
    source: str,
    *,
    stream: int | None = None,
    live: bool | None = None,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 10.0,
    fps: float | None = None,
    times: str | None = None,
) -> Source:
    """Opens a file, a folder of jpg, png or bmp images, a URL, `/dev/videoN` or a pipeline; decodes its first frame.

    A camera, broadcast or live pipeline is reopened whenever it is lost, see `sources.live`.

    Args:
        source: `CameraConfig.source`.
        stream: of a file or URL with several, the index of the one to watch, as ffprobe counts; None to choose.
        live: drop frames when late, or never; None: as the kind of source and its protocol say.
        open_timeout_s: seconds a URL or pipeline may take to answer.
        read_timeout_s: seconds it may then send nothing.
        fps: pictures per second of a folder of images or of a recording without a clock; None where nobody knows.
        times: of a folder of images, see `ImageFolderSource`.

    Raises:
        SourceError: it does not exist, may not be read, is no video, or has no decodable frame.
        UsageError: an option that the kind of source does not have.
        EnvironmentFailure: it is a GStreamer pipeline, and this machine has no GStreamer.
    """
    is_address = scheme_of(source) not in (None, "file") and not os.path.exists(source)
    pipeline = is_pipeline(source) and not os.path.exists(source)
    path = None if is_address or pipeline else file_path(source)
    if path is not None and path.is_dir():
        _refuse(source, "image folder", stream=stream, live=live)
        return ImageFolderSource(source, path, fps=fps, times=times)
    _refuse(source, "video", times=times)
    timeout_s = (open_timeout_s, read_timeout_s)
    if pipeline:
        from stprompt_edge.runtime.sources.gstreamer import GStreamerSource  # needs the system's GStreamer

        _refuse(source, "pipeline", stream=stream, live=live, fps=fps)
        return healing(lambda: GStreamerSource(source, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s))
    if is_address:
        return healing(lambda: _open_address(source, stream=stream, live=live, fps=fps, timeout=timeout_s))
    assert path is not None
    if source.startswith("/dev/video"):
        return healing(lambda: _open_camera(source, live=live is not False, stream=stream, fps=fps, timeout=timeout_s))
    if not os.path.exists(path):
        refuse_half_address(source)
    _check_file(path)
    url = f"file:{path}"  # since FFmpeg reads `a:b.mp4` as protocol `a`
    return VideoSource(source, url, live=bool(live), stream=stream, fps=fps)


def _open_address(source: str, *, live: bool | None, **options: Any) -> Source:
    scheme = scheme_of(source)
    transport = {"rtsp_transport": "tcp"} if scheme in ("rtsp", "rtsps") else {}  # UDP loses packets silently
    if live is None and scheme in LIVE_SCHEMES:
        live = True
    return VideoSource(masked_source(source), str(parse_address(source)), live=live, options=transport, **options)


def _open_camera(source: str, **options: Any) -> Source:
    if not os.path.exists(source):
        cameras = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise SourceError(f"no camera at {source}", remedy=f"connect one; cameras found: {cameras}")
    return VideoSource(source, source, format="v4l2", **options)


def _refuse(source: str, kind: str, **options: object) -> None:
    """Raise for an option that this kind of source does not have."""
    for name, value in options.items():
        if value is not None:
            option = "--live/--file" if name == "live" else f"--{name}"
            what = f"{masked_source(source)} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}, which has no {option}"
            raise UsageError(what, remedy="leave it out")


def expected_frames(path: Path) -> int | None:
    """About how many frames a video file or image folder holds, without decoding; None where nothing tells."""
    try:
        if path.is_dir():
            return len(pictures_of(path)) or None
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
