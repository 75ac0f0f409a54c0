"""Bundles whose files are links, as model caches, DVC and Kubernetes volumes make them: the hash is the check."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle, reading
from stprompt_edge.calibration import Int8Settings, calibrate_int8
from stprompt_edge.errors import CheckFailed, UsageError
from tests.bundles import write_fake_bundle
from tests.layouts import LAYOUTS, Layout, contents, hugging_face, one_link

ALL = [*LAYOUTS.values(), one_link]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_fake_bundle(tmp_path / "plain").path


@pytest.mark.parametrize("layout", ALL)
def test_a_bundle_of_links_is_the_bundle(tmp_path: Path, plain: Path, layout: Layout) -> None:
    (tmp_path / "links").mkdir()
    linked = load_bundle(layout(plain, tmp_path / "links"))
    whole = load_bundle(plain)
    assert linked.manifest == whole.manifest
    for name in whole.manifest.files:
        assert linked.file(name).read_bytes() == whole.file(name).read_bytes()


@pytest.mark.parametrize("layout", ALL)
def test_it_computes_the_same(tmp_path: Path, layout: Layout) -> None:
    pytest.importorskip("onnxruntime")
    from stprompt_edge.runtime.backends.onnx import OnnxBackend

    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    fine = np.arange(3)[None]
    found = []
    for path in (DEMO_BUNDLE, layout(DEMO_BUNDLE, tmp_path)):
        with OnnxBackend(load_bundle(path)) as backend:
            found.append(backend.encode(image, fine, fine[:, :0]))
    np.testing.assert_array_equal(found[0].frame, found[1].frame)
    np.testing.assert_array_equal(found[0].fine, found[1].fine)


@pytest.mark.parametrize("layout", LAYOUTS.values())
@pytest.mark.parametrize("name", ["encoder.onnx", "text.safetensors"])
def test_other_bytes_behind_a_link_are_noticed(tmp_path: Path, plain: Path, layout: Layout, name: str) -> None:
    linked = layout(plain, tmp_path)
    target = (linked / name).resolve()
    target.chmod(0o644)
    target.write_bytes(bytes([target.read_bytes()[0] ^ 1]) + target.read_bytes()[1:])
    with pytest.raises(CheckFailed, match=f"{re.escape(name)} was changed: its sha256"):
        load_bundle(linked)


@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_a_broken_link(tmp_path: Path, plain: Path, layout: Layout) -> None:
    linked = layout(plain, tmp_path)
    (linked / "heads.onnx").resolve().unlink()
    points = re.escape(os.readlink(linked / "heads.onnx"))
    with pytest.raises(CheckFailed, match=rf"heads\.onnx is missing \(broken link to {points}\)"):
        load_bundle(linked)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda file: file.symlink_to("engines"), r"heads\.onnx is missing \(link to engines, a folder\)"),
        (lambda file: file.mkdir(), r"heads\.onnx is missing \(a folder is there\)"),
        (lambda file: file.symlink_to(file.name), r"is missing \(broken link to heads\.onnx\)"),  # to itself
        (lambda file: file.symlink_to("/dev/null"), r"is missing \(link to /dev/null, not a file\)"),
        (os.mkfifo, "heads.onnx is missing$"),
        (lambda file: file.symlink_to("encoder.onnx"), "heads.onnx was changed|heads.onnx has"),
    ],
)
def test_a_link_to_something_else(plain: Path, place: Callable[[Path], None], message: str) -> None:
    (plain / "engines").mkdir()
    (plain / "heads.onnx").unlink()
    place(plain / "heads.onnx")
    with pytest.raises(CheckFailed) as caught:
        load_bundle(plain)
    assert re.search(message, caught.value.what)


def test_a_folder_that_is_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("gone")
    with pytest.raises(UsageError, match=r"no bundle at .*current: it is missing \(broken link to gone\)"):
        load_bundle(tmp_path / "current")


@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_a_manifest_that_is_a_link_to_nothing(tmp_path: Path, plain: Path, layout: Layout) -> None:
    linked = layout(plain, tmp_path)
    (linked / "bundle.json").resolve().unlink()
    with pytest.raises(UsageError, match=r"it is a folder whose bundle\.json is missing \(broken link to "):
        load_bundle(linked)


def test_what_may_not_be_read_is_said(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(reading, "describe_file", refuse)
    with pytest.raises(UsageError, match=r"bundle .*plain: .*\.onnx cannot be read: Permission denied"):
        load_bundle(plain)


@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_calibration_does_not_write_into_a_store(tmp_path: Path, layout: Layout) -> None:
    """It is refused before the footage is looked for, and nothing is touched."""
    pytest.importorskip("onnx")
    plain = write_fake_bundle(tmp_path / "plain").path
    linked = layout(plain, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"is not written into: its bundle\.json is a link \(to .*\n.*cp -rL .* COPY"):
        calibrate_int8(linked, Int8Settings(footage=("nowhere.mp4",), out=tmp_path / "report"))
    assert contents(tmp_path) == before


def test_replacing_a_folder_of_links_leaves_the_store_alone(tmp_path: Path, plain: Path) -> None:
    """As `export --out` does."""
    snapshot = hugging_face(plain, tmp_path)
    blobs = snapshot.parents[1] / "blobs"
    before = contents(blobs)
    write_fake_bundle(snapshot, files={"thresholds.json": b"{}"})
    assert contents(blobs) == before
    assert not any(path.is_symlink() for path in snapshot.iterdir())
    assert [path.name for path in snapshot.parent.iterdir()] == [snapshot.name]
