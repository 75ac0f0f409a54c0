"""A bundle is made whole or not at all, and takes the place of bundles only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import save

from stprompt_edge.bundle import (
    ENCODER_NAMES,
    HEADS_NAME,
    MANIFEST_NAME,
    TEXT_NAME,
    check_replaceable,
    load_bundle,
    seal_bundle,
    staged_folder,
)
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError
from tests.bundles import fake_manifest, fake_text, write_fake_bundle

FILES = (ENCODER_NAMES["fp32"], ENCODER_NAMES["cpu8"], HEADS_NAME, TEXT_NAME)
EXPORT_AGAIN = "export it again, or copy it again from where it came"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A fake bundle on the disk."""
    return write_fake_bundle(tmp_path / "bundle").path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_seal_lists_every_file_and_no_partial_is_left(path: Path) -> None:
    assert set(load_bundle(path).manifest.files) == set(FILES)
    assert names(path) == sorted([*FILES, MANIFEST_NAME])
    assert names(path.parent) == ["bundle"]


def test_an_exception_in_the_middle_keeps_the_old_bundle(path: Path) -> None:
    before = (path / MANIFEST_NAME).read_bytes()
    with pytest.raises(KeyboardInterrupt, match="stop"), staged_folder(path) as folder:  # noqa: PT012  the block is the test
        (folder / "half").write_bytes(b"half")
        assert folder != path
        assert "half" not in names(path)
        raise KeyboardInterrupt("stop")
    assert (path / MANIFEST_NAME).read_bytes() == before
    assert names(path.parent) == ["bundle"]
    load_bundle(path)


def test_a_failed_seal_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"does not list heads\.onnx"):
        write_fake_bundle(tmp_path / "b", files={HEADS_NAME: None})
    assert names(tmp_path) == []


def test_a_new_bundle_replaces_the_old_one_whole(path: Path) -> None:
    write_fake_bundle(path, files={"thresholds.json": b"{}", ENCODER_NAMES["cpu8"]: None})
    assert load_bundle(path).precisions == ("fp32",)
    assert names(path) == sorted([ENCODER_NAMES["fp32"], HEADS_NAME, TEXT_NAME, MANIFEST_NAME, "thresholds.json"])
    assert names(path.parent) == ["bundle"]


def test_what_a_killed_export_left_is_cleared_away(path: Path) -> None:
    shutil.copytree(path, path.with_name("bundle.partial"))
    (path.with_name("bundle.partial") / "stray").write_bytes(b"")
    shutil.copytree(path, path.with_name("bundle.old"))
    write_fake_bundle(path)
    assert "stray" not in names(path)
    assert names(path.parent) == ["bundle"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "a" / "b" / "c")
    load_bundle(tmp_path / "a" / "b" / "c")


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    load_bundle(write_fake_bundle(tmp_path / "b").path)


@pytest.mark.parametrize("name", [".", "..", "../..", "inside/.."])
def test_the_current_folder_is_not_pulled_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    inside = tmp_path / "a" / "b"
    (inside / "inside").mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(UsageError, match=r"holds the current folder\n  fix: choose a folder of its own"):
        write_fake_bundle(Path(name))
    assert names(inside) == ["inside"]


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("current")
    link.symlink_to(path)
    write_fake_bundle(link, files={"thresholds.json": b"{}"})
    assert link.is_symlink()
    assert "thresholds.json" in load_bundle(path).manifest.files


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_a_bundle_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine"
    precious = path
    if kind == "folder":
        path.mkdir()
        precious = path / "thesis.txt"
    precious.write_text("precious")
    for write in (check_replaceable, lambda p: write_fake_bundle(p)):
        with pytest.raises(UsageError, match=r"mine exists and is not a bundle\n  fix: choose another --out"):
            write(path)
    assert precious.read_text() == "precious"
    assert names(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(28, EnvironmentFailure, "disk full while writing .*bundle"), (13, UsageError, "cannot write .*bundle")],
)
def test_what_the_disk_refuses(path: Path, number: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), staged_folder(path):
        raise OSError(number, os.strerror(number))
    load_bundle(path)


def test_seal_describes_what_is_there(tmp_path: Path) -> None:
    (tmp_path / ENCODER_NAMES["fp16"]).write_bytes(b"")
    (tmp_path / TEXT_NAME).write_bytes(save(fake_text()))
    bundle = seal_bundle(tmp_path, fake_manifest(method={"name": "zero-shot"}))
    assert bundle.manifest.files[ENCODER_NAMES["fp16"]].bytes == 0
    assert bundle.manifest.files[ENCODER_NAMES["fp16"]].sha256.startswith("e3b0c442")  # of nothing
