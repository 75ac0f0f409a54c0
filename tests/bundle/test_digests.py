"""A bundle's files are read for their digests once a command, and are still those that were checked when opened."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import HEADS_NAME, Bundle, describe_file, load_bundle, seal_bundle
from stprompt_edge.errors import CheckFailed
from tests import videos
from tests.bundles import write_fake_bundle
from tests.commands import typed


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_fake_bundle(tmp_path / "b")


def test_loading_reads_each_file_once(bundle: Bundle, digests: dict[str, int]) -> None:
    load_bundle(bundle.path)
    assert digests == dict.fromkeys(bundle.manifest.files, 1)


def test_opening_and_sealing_again_read_what_changed(bundle: Bundle, digests: dict[str, int]) -> None:
    bundle.file(HEADS_NAME)
    assert seal_bundle(bundle.path, bundle.manifest, bundle).manifest == bundle.manifest
    assert digests == {}
    (bundle.path / HEADS_NAME).write_bytes(b"other")
    sealed = seal_bundle(bundle.path, bundle.manifest, bundle)
    assert digests == {HEADS_NAME: 1}
    assert sealed.manifest.files[HEADS_NAME] == describe_file(bundle.path / HEADS_NAME)
    assert load_bundle(bundle.path).manifest == sealed.manifest


def test_another_process_does_not_read_them_again(bundle: Bundle, digests: dict[str, int]) -> None:
    other = pickle.loads(pickle.dumps(bundle))
    assert other.file(HEADS_NAME) == bundle.path / HEADS_NAME
    assert digests == {}


@pytest.mark.parametrize("keep_size", [True, False])
def test_what_changes_after_the_check_is_not_opened(bundle: Bundle, keep_size: bool) -> None:
    file = bundle.path / HEADS_NAME
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:] if keep_size else content + b"x")
    os.utime(file, ns=(0, 0))
    with pytest.raises(CheckFailed, match=r"heads\.onnx (was changed|has \d+ bytes)"):
        bundle.file(HEADS_NAME)


def test_a_copy_in_its_place_is_read_and_taken(bundle: Bundle, digests: dict[str, int]) -> None:
    file = bundle.path / HEADS_NAME
    shutil.copyfile(file, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)
    assert bundle.file(HEADS_NAME) == file
    assert digests == {HEADS_NAME: 1}


def test_extract_reads_them_once(tmp_path: Path, digests: dict[str, int]) -> None:
    pytest.importorskip("onnxruntime")
    files = load_bundle(DEMO_BUNDLE).manifest.files
    digests.clear()
    for name in ("Normal/a.mp4", "Fighting/b.mp4"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        videos.write_video(tmp_path / "data" / name, frames=8)
    arguments = ["--bundle", str(DEMO_BUNDLE), "--out", str(tmp_path / "f"), "--backend", "onnx", "--processes", "1"]
    assert typed("extract", str(tmp_path / "data"), *arguments) == 0
    assert digests == dict.fromkeys(files, 1)
