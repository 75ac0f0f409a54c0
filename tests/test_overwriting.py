"""No output is an input, by whatever name either goes; what only lies beside an output is left alone and allowed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stprompt_edge.errors import UsageError
from stprompt_edge.overwriting import check_outputs, given_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: clip.mp4, images/1.png and an empty `out`."""
    (tmp_path / "clip.mp4").write_text("a video")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_text("a picture")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def linked(link: str, target: str) -> str:
    Path(link).symlink_to(os.path.abspath(target))
    return link


def hard_linked(link: str, target: str) -> str:
    Path(link).hardlink_to(target)
    return link


@pytest.mark.parametrize(
    ("source", "output"),
    [
        (lambda: "clip.mp4", lambda: "clip.mp4"),
        (lambda: "clip.mp4", lambda: "out/../clip.mp4"),
        (lambda: "clip.mp4", lambda: os.path.abspath("clip.mp4")),
        (lambda: linked("link.mp4", "clip.mp4"), lambda: "clip.mp4"),
        (lambda: linked("link.mp4", "clip.mp4"), lambda: "link.mp4"),
        (lambda: "clip.mp4", lambda: linked("out/a.mp4", "clip.mp4")),
        (lambda: "clip.mp4", lambda: hard_linked("out/a.mp4", "clip.mp4")),
        (lambda: "clip.mp4", lambda: linked("other", ".") + "/clip.mp4"),
        (lambda: hard_linked("out/a.mp4.partial", "clip.mp4"), lambda: "out/a.mp4"),
        (lambda: "clip.mp4", lambda: linked("out/a.mp4.partial", "clip.mp4").removesuffix(".partial")),
        (lambda: "images", lambda: "images/1.png"),
        (lambda: "images", lambda: hard_linked("out/1.png", "images/1.png")),
        (lambda: os.fsdecode(b"caf\xe9.mp4"), lambda: hard_linked(os.fsdecode(b"caf\xe9.mp4"), "clip.mp4")),
    ],
)
def test_a_file_that_is_an_input(here: Path, source: Callable[[], str], output: Callable[[], str]) -> None:
    given, written = source(), output()
    with pytest.raises(UsageError) as raised:
        check_outputs([("bundle", None), ("source", given)], files=[Path("out/new"), Path(written)], option="--there")
    assert f"the output {Path(written)}" in raised.value.what
    assert f"the source {Path(given)}" in raised.value.what
    assert "--there" in raised.value.remedy


@pytest.mark.parametrize("folder", ["images", "./images/", "out/../images", "link"])
def test_an_output_folder_that_is_an_input(here: Path, folder: str) -> None:
    linked("link", "images")
    with pytest.raises(UsageError, match=r"the output folder .* is the source images\n.*another place with --out"):
        check_outputs([("source", "images")], folder=Path(folder))


@pytest.mark.parametrize("given", ["b/ck", "b/deep/ck", "b", "b.old/ck", "b.partial/ck", "link", "b/link", "linked/ck"])
def test_a_folder_that_is_replaced_with_an_input_in_it(here: Path, given: str) -> None:
    for name in ("b/ck", "b/deep/ck", "b.old/ck", "b.partial/ck"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("weights")
    linked("link", "b/ck")
    linked("b/link", "clip.mp4")  # what it leads to stays, but the name that was typed would not
    linked("linked", "b")
    with pytest.raises(UsageError, match=rf"b(\.old|\.partial)? is replaced .*, and the checkpoint {given} is in it"):
        check_outputs([("checkpoint", given)], replaced=[Path("b")])


def test_a_place_that_is_not_there_yet_lies_in_it_too(here: Path) -> None:
    with pytest.raises(UsageError, match="the report images/new/report is in it"):
        check_outputs([("report", "images/new/report")], replaced=[Path("images")])


@pytest.mark.parametrize("source", ["clip.mp4", "missing.mp4", "rtsp://camera/stream", "a\0b", "x" * 5000, "/dev/null"])
def test_what_only_lies_beside_an_input_is_allowed(here: Path, source: str) -> None:
    Path("clip.mp4.old").write_text("mine")
    Path("scores.csv").write_text("of an earlier run")
    check_outputs(
        [("source", source), ("bundle", "images"), ("vocabulary", None)],
        files=[Path("scores.csv"), Path("report.html")], folder=Path(), replaced=[Path("out"), Path("new")],
    )  # fmt: skip
    assert sorted(os.listdir()) == ["clip.mp4", "clip.mp4.old", "images", "out", "scores.csv"]


def test_a_pipe_is_not_opened(here: Path) -> None:
    os.mkfifo("pipe")  # opening it would wait for a writer for ever
    check_outputs([("source", "pipe")], files=[Path("clip.mp4")], folder=Path(), replaced=[Path("out")])
    with pytest.raises(UsageError, match="the output pipe is the source pipe"):
        check_outputs([("source", "pipe")], files=[Path("pipe")])


def test_a_name_counts_where_it_is_a_file(here: Path) -> None:
    Path("ucf-crime").mkdir()  # what somebody calls his output, and a vocabulary that ships
    assert given_file("ucf-crime") is None
    assert given_file(None) is None
    assert given_file("clip.mp4") == Path("clip.mp4")
