"""Cameras by name: `cameras.toml`, and what a text on the command line means."""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeGuard

from stprompt_edge.errors import SourceError, UsageError, nearest
from stprompt_edge.listing import is_data
from stprompt_edge.masking import PIPELINE, masked_source
from stprompt_edge.runtime.addresses import parse_address, refuse_half_address, scheme_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FILE = Path("cameras.toml")


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """One camera: where its frames come from, and what differs from the bundle's defaults (None: nothing does).

    Raises:
        UsageError: a field has the wrong type or range.
    """

    source: str
    name: str = ""  # the source itself where nobody gave one, its secrets hidden
    stride: int | None = None  # camera frames per sampled frame, 1 or more
    threshold: float | None = None  # score that raises the alarm, 0..1
    stream: int | None = None  # which stream of a file, from 0 as ffprobe counts
    live: bool | None = None  # may frames be dropped to keep up
    fps: float | None = None  # frames per second where the source has no clock, over 0

    def __post_init__(self) -> None:
        self._check("source", isinstance(self.source, str) and self.source.strip(), "a text", '"rtsp://host/stream"')
        self._check("stride", _is_number(self.stride, int) and self.stride >= 1, "a whole number from 1", "16")
        self._check("threshold", _is_number(self.threshold) and 0 <= self.threshold <= 1, "from 0 to 1", "0.5")
        self._check("stream", _is_number(self.stream, int) and self.stream >= 0, "a whole number from 0", "1")
        self._check("live", isinstance(self.live, bool), "true or false", "true")
        self._check("fps", _is_number(self.fps) and 0 < self.fps < math.inf, "a number over 0", "12.5")
        object.__setattr__(self, "name", self.name or masked_source(self.source))

    def _check(self, key: str, fits: object, wanted: str, example: str) -> None:
        value = getattr(self, key)
        if not fits and (value is not None or key == "source"):
            raise UsageError(f"{key} must be {wanted}, got {value!r}", remedy=f"e.g. {key} = {example}")


def _is_number(value: Any, *kinds: type) -> TypeGuard[float]:
    return type(value) in (kinds or (int, float))


def load_camera(name: str, path: Path = DEFAULT_FILE) -> CameraConfig:
    """Reads table `[cameras.NAME]` of a TOML file; a path in it that is relative starts at the file's folder.

    Raises:
        UsageError: no such file or table, malformed TOML (with its line), an unknown key, a value of a wrong type.
    """
    table = _camera_tables(path)
    if name not in table:
        raise UsageError(f"{path}: no camera '{name}'", remedy=nearest(name, table))
    values = table[name]
    if not isinstance(values, dict):
        raise UsageError(f"{path}: cameras.{name} is not a table", remedy=f"write it as [cameras.{name}]")
    known = [field.name for field in fields(CameraConfig) if field.name != "name"]
    for key in values:
        if key not in known:
            raise UsageError(f"{path}: unknown key '{key}' in [cameras.{name}]", remedy=nearest(key, known))
    try:
        camera = CameraConfig(**{"source": None, **values}, name=name)
        return replace(camera, source=_from_folder(camera.source, path.parent))
    except UsageError as exc:
        raise UsageError(f"{path}: [cameras.{name}]: {exc.what}", remedy=exc.remedy) from exc


def _camera_tables(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a byte order mark first
    except OSError as exc:
        what = f"cannot read {path}: {exc.strerror or exc}"
        raise UsageError(what, remedy="create it with a table [cameras.NAME], or correct --cameras") from exc
    except UnicodeDecodeError as exc:
        what = f"cannot read {path}: it is not UTF-8 text (byte {exc.object[exc.start]:#04x} at {exc.start})"
        raise UsageError(what, remedy="save it as UTF-8") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise UsageError(f"{path} is not valid TOML: {exc}", remedy="correct that place") from exc
    for key in content:
        if key != "cameras":
            raise UsageError(f"{path}: unknown key '{key}'", remedy=nearest(key, ["cameras"]))
    tables = content.get("cameras", {})
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: 'cameras' is not a table", remedy="write one table [cameras.NAME] for each camera")
    return tables


def _from_folder(source: str, folder: Path) -> str:
    """A camera's source as this process can open it: relative paths start at `folder`, `~` is the home folder."""
    if is_pipeline(source) or scheme_of(source):
        return source
    prefix, path = ("file:", source[len("file:") :]) if source.startswith("file:") else ("", source)
    return f"{prefix}{folder / os.path.expanduser(path)}"


def resolve_source(text: str, cameras_path: Path | None = None) -> CameraConfig:
    """What the user typed as a camera: an existing path, a URL, `/dev/videoN`, a GStreamer pipeline, or a name.

    A name is a table of `cameras_path`; without one, `cameraN` means `/dev/videoN`.

    Args:
        text: what the user typed.
        cameras_path: the file of cameras, which must then be there; None is `cameras.toml`, which need not.

    Raises:
        SourceError: none of these.
        UsageError: `cameras_path` is needed and missing or malformed.
    """
    if os.path.exists(text) or is_pipeline(text) or text.startswith("/dev/video") or text.lower().startswith("file:"):
        return CameraConfig(source=text)
    if scheme_of(text):
        parse_address(text)  # for its errors: what is wrong is told before a bundle is loaded
        return CameraConfig(source=text.strip())
    refuse_half_address(text)
    path = cameras_path or DEFAULT_FILE
    tables = _camera_tables(path) if cameras_path or path.exists() else {}
    if text in tables:
        return load_camera(text, path)
    if number := re.fullmatch(r"camera([0-9]{1,4})", text):
        return CameraConfig(source=f"/dev/video{int(number[1])}", name=text)
    raise SourceError(f"no such file or camera: '{text}'", remedy=nearest_source(text, tables, path))


def is_pipeline(text: str) -> bool:
    """Is this a GStreamer pipeline: elements with ` ! ` between them?"""
    return PIPELINE.search(text) is not None


def nearest_source(text: str, cameras: dict[str, Any], path: Path = DEFAULT_FILE) -> str:
    """The remedy for a path or camera that does not exist: the closest camera or file name."""
    folder, name = os.path.split(text)
    files = os.listdir(folder or ".") if os.path.isdir(folder or ".") and os.access(folder or ".", os.R_OK) else []
    for known, prefix in ((list(cameras), ""), ([file for file in files if is_data(file)], folder)):
        close = difflib.get_close_matches(name, known, n=1)
        if close:
            return f"did you mean '{os.path.join(prefix, close[0])}'?"
    names = f" ({', '.join(sorted(cameras))})" if cameras else ""
    kinds = "a video file, a folder of images, a URL, /dev/videoN, a GStreamer pipeline"
    return f"give {kinds} or a camera of {path}{names}"
