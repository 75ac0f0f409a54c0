"""The local files behind a source, so that no output is written over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.addresses import file_path
from stprompt_edge.runtime.cameras import is_pipeline

_IN_PIPELINE = re.compile(r"""\b(?:location|uri)\s*=\s*("[^"]*"|'[^']*'|\S+)""")
_PLAYLISTS = (b"ffconcat", b"#EXTM3U")  # texts that name the files which hold the pictures
_PLAYLIST_BYTES = 1 << 20  # of one that is looked at


def source_files(source: str) -> list[Path]:
    """Where the frames of a source may come from on this machine; a path need not exist, and a URL has none.

    Args:
        source: `CameraConfig.source`: a file or folder, a `file:` URL, a pipeline, or a playlist of files.

    >>> source_files("file:///data/a%20b.mp4"), source_files("rtsp://camera/stream")
    ([PosixPath('/data/a b.mp4')], [])
    """
    texts = [source]
    if is_pipeline(source):
        texts += [found.strip("\"'") for found in _IN_PIPELINE.findall(source)]
    found: list[Path] = []
    for text in texts:
        if text.startswith("file:") or "://" not in text:
            with suppress(SourceError):  # a file of another machine
                found.append(file_path(text))
    return [*found, *(file for path in found for file in _listed(path))]


def _listed(playlist: Path) -> Iterator[Path]:
    """The files that a playlist names, relative to it."""
    try:
        if not playlist.is_file():  # a pipe would be emptied by looking into it
            return
        with playlist.open("rb") as file:
            head = file.read(_PLAYLIST_BYTES) if file.peek(8).startswith(_PLAYLISTS) else b""
    except (OSError, ValueError):
        return
    for line in head.decode("utf-8", "surrogateescape").splitlines():
        name = re.sub(r"^\s*file\s+", "", line).strip().strip("'\"")
        if name and not name.startswith("#") and "://" not in name:
            yield playlist.parent / name
