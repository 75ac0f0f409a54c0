"""Cameras by name: `cameras.toml`, and what a text on the command line means."""

from __future__ import annotations

import difflib
import os
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stprompt_edge.errors import SourceError, UsageError, nearest
from stprompt_edge.listing import is_data

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "udp", "srt"})
URL_SCHEMES = LIVE_SCHEMES | {"http", "https"}  # http is live when its container has no duration


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """One camera: where its frames come from, and what differs from the bundle's defaults (None: nothing does).

    Raises:
        UsageError: a field has the wrong type or range.
    """

    source: str
    stride: int | None = None  # camera frames per sampled frame, 1 or more
    threshold: float | None = None  # score that raises the alarm, 0..1
    fps: float | None = None  # pictures per second of an image folder

    def __post_init__(self) -> None:
        if not isinstance(self.source, str) or not self.source:
            raise UsageError(f"source must be a text, got {self.source!r}", remedy='e.g. source = "rtsp://host/stream"')
        if self.stride is not None and (type(self.stride) is not int or self.stride < 1):
            raise UsageError(f"stride must be a whole number from 1, got {self.stride!r}", remedy="e.g. stride = 16")
        if self.threshold is not None and (type(self.threshold) not in (int, float) or not 0 <= self.threshold <= 1):
            raise UsageError(f"threshold must be from 0 to 1, got {self.threshold!r}", remedy="e.g. threshold = 0.5")
        if self.fps is not None and (type(self.fps) not in (int, float) or not self.fps > 0):
            raise UsageError(f"fps must be above 0, got {self.fps!r}", remedy="e.g. fps = 12.5")


def load_camera(name: str, path: Path = Path("cameras.toml")) -> CameraConfig:
    """Reads table `[cameras.NAME]` of a TOML file.

    Raises:
        UsageError: no such file or table, malformed TOML (with its line), an unknown key, a value of a wrong type.
    """
    table = _camera_tables(path)
    if name not in table:
        raise UsageError(f"{path}: no camera '{name}'", remedy=nearest(name, table))
    values = table[name]
    if not isinstance(values, dict):
        raise UsageError(f"{path}: cameras.{name} is not a table", remedy=f"write it as [cameras.{name}]")
    known = [field.name for field in fields(CameraConfig)]
    for key in values:
        if key not in known:
            raise UsageError(f"{path}: unknown key '{key}' in [cameras.{name}]", remedy=nearest(key, known))
    try:
        return CameraConfig(**{"source": None, **values})
    except UsageError as exc:
        raise UsageError(f"{path}: [cameras.{name}]: {exc.what}", remedy=exc.remedy) from exc


def _camera_tables(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read {path}: {exc}", remedy="create it with a table [cameras.NAME]") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise UsageError(f"{path} is not valid TOML: {exc}", remedy="correct that place") from exc
    for key in content:
        if key != "cameras":
            raise UsageError(f"{path}: unknown key '{key}'", remedy=nearest(key, ["cameras"]))
    tables = content.get("cameras", {})
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: 'cameras' is not a table", remedy="write one table [cameras.NAME] for each camera")
    return tables


def resolve_source(text: str, cameras_path: Path = Path("cameras.toml")) -> CameraConfig:
    """What the user typed as a camera: an existing path, a URL, `/dev/videoN`, a GStreamer pipeline, or a name.

    A name is a table of `cameras_path`; without one, `cameraN` means `/dev/videoN`.

    Raises:
        SourceError: none of these.
        UsageError: `cameras_path` is needed and malformed.
    """
    scheme, colon, _ = text.partition(":")
    if (
        os.path.exists(text)
        or is_pipeline(text)
        or text.startswith("/dev/video")
        or (colon and scheme in URL_SCHEMES | {"file"})
    ):
        return CameraConfig(source=text)
    if "://" in text:
        raise SourceError(f"cannot open '{masked_url(text)}': unknown protocol", remedy=nearest(scheme, URL_SCHEMES))
    tables = _camera_tables(cameras_path) if cameras_path.exists() else {}
    if text in tables:
        return load_camera(text, cameras_path)
    if number := re.fullmatch(r"camera([0-9]{1,4})", text):
        return CameraConfig(source=f"/dev/video{int(number[1])}")
    raise SourceError(f"no such file or camera: '{text}'", remedy=nearest_source(text, tables))


def is_pipeline(text: str) -> bool:
    """Is this a GStreamer pipeline: elements with ` ! ` between them?"""
    return re.search(r"\s!\s", text) is not None


def nearest_source(text: str, cameras: dict[str, Any]) -> str:
    """The remedy for a path or camera that does not exist: the closest camera or file name."""
    folder, name = os.path.split(text)
    files = os.listdir(folder or ".") if os.path.isdir(folder or ".") and os.access(folder or ".", os.R_OK) else []
    for known, prefix in ((list(cameras), ""), ([file for file in files if is_data(file)], folder)):
        close = difflib.get_close_matches(name, known, n=1)
        if close:
            return f"did you mean '{os.path.join(prefix, close[0])}'?"
    names = f" ({', '.join(sorted(cameras))})" if cameras else ""
    kinds = "a video file, a folder of images, a URL, /dev/videoN, a GStreamer pipeline"
    return f"give {kinds} or a camera of cameras.toml{names}"


def masked_url(url: str) -> str:
    """The URL without its password, for messages and reports."""
    return re.sub(r"(://[^/:@]*):[^/]*@", r"\1:***@", url)


def masked_pipeline(text: str) -> str:
    """A GStreamer pipeline, or what it reports, without passwords: those of URLs, `user-pw` and the like."""
    text = re.sub(r"(://[^/:@\s]*):[^/\s]*@", r"\1:***@", text)
    return re.sub(r"""(-pw\s*=\s*)("[^"]*"|'[^']*'|\S+)""", r"\1***", text)
