"""The local files behind what people type as a source."""

from __future__ import annotations

import doctest
import os
from pathlib import Path

import pytest

from stprompt_edge.runtime import source_files as module
from stprompt_edge.runtime.source_files import source_files


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("a.mp4", ["a.mp4"]),
        ("file:a.mp4", ["a.mp4"]),
        ("file:///v/a%20b.mp4", ["/v/a b.mp4"]),
        ("file:///v/caf%E9.mp4", [os.fsdecode(b"/v/caf\xe9.mp4")]),
        ("100%25.mp4", ["100%25.mp4"]),
        ("rtsp://user:secret@camera/stream", []),
        ("file://camera/a.mp4", []),  # of another machine
        ("http://camera/annotated.mp4", []),
        ("/dev/video0", ["/dev/video0"]),
    ],
)
def test_files_of_a_source(source: str, files: list[str]) -> None:
    assert source_files(source) == [Path(file) for file in files]


@pytest.mark.parametrize(
    "pipeline",
    [
        "filesrc location=/v/a.mp4 ! decodebin ! appsink",
        'filesrc location = "/v/a.mp4" ! decodebin ! appsink',
        "uridecodebin uri=file:///v/a.mp4 ! appsink",
    ],
)
def test_files_of_a_pipeline(pipeline: str) -> None:
    assert Path("/v/a.mp4") in source_files(pipeline)
    assert source_files("rtspsrc location=rtsp://camera/a.mp4 ! appsink")[1:] == []


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile 'a.mp4'\nduration 2\nfile b.mp4\n",
        "#EXTM3U\n#EXTINF:2,\na.mp4\n\n#EXTINF:2,\nb.mp4\n",
    ],
)
def test_files_of_a_playlist(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_text(text)
    assert {tmp_path / "a.mp4", tmp_path / "b.mp4"} < set(source_files(str(tmp_path / "list")))


def test_nothing_is_read_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer for ever
    assert source_files(str(tmp_path / "pipe")) == [tmp_path / "pipe"]


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(module) == (0, 1)
