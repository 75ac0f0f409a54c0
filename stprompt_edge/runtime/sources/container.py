"""Opening what FFmpeg opens, with its errors in our words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import av
import av.error

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.sources.connecting import connection_failure, without_address

_METADATA_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


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
    path = Path(url.removeprefix("file:"))
    if path.is_file() and _lacks_mp4_index(path):
        remedy = "repair it with a tool such as untrunc; record to mkv or fragmented mp4 to survive interruptions"
        return SourceError(f"{name}: the file's index is missing (interrupted recording)", remedy=remedy)
    if not isinstance(exc, av.error.InvalidDataError):
        reason = getattr(exc, "strerror", None) or str(exc)
        remedy = "copy or record it again" if path.is_file() else "check the address, and that the device is on"
        return SourceError(f"cannot open {name}: {reason}", remedy=remedy)
    return SourceError(f"{name} is not a video that FFmpeg knows", remedy="check that it plays with ffplay")


def _lacks_mp4_index(path: Path) -> bool:
    """Is this an ISO media file (mp4, mov) whose top-level boxes hold no whole `moov`?"""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        position, end = 0, path.stat().st_size
        while position + 8 <= end:
            file.seek(position)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(header[8:], "big")
            position = position + size if size >= 8 else end  # 0: the box reaches to the end of the file
            if header[4:8] == b"moov":
                return position > end
    return True
