"""A bundle with a file more, or as it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from stprompt_edge.bundle import Bundle, load_bundle, seal_bundle
from stprompt_edge.calibration.staging import amended_bundle
from stprompt_edge.errors import EnvironmentFailure
from tests.bundles import write_fake_bundle

NAME = "encoder.int8.onnx"


@pytest.fixture(params=["links", "copies"])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "copies":
        monkeypatch.setattr(os, "link", refuse)


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("no_links")
def test_files_and_engines_are_taken_over(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "b", files={NAME: b"older"})
    (bundle.path / "engines" / "orin").mkdir(parents=True)
    (bundle.path / "engines" / "orin" / "engine.json").write_text("{}")
    before = snapshot(bundle.path)
    with amended_bundle(bundle, [NAME]) as folder:
        assert not (folder / NAME).exists()
        (folder / NAME).write_bytes(b"newer")
        seal_bundle(folder, bundle.manifest)
        assert snapshot(bundle.path) == before  # the one in use is not written into
    after = snapshot(load_bundle(bundle.path).path)
    assert after.pop(NAME) == b"newer"
    assert after.pop("bundle.json") != before.pop("bundle.json")
    assert after.items() <= before.items()
    assert "engines/orin/engine.json" in after
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def fail_half_way(bundle: Bundle, error: BaseException) -> None:
    with amended_bundle(bundle, [NAME]) as folder:
        (folder / NAME).write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_fails_leaves_the_bundle_as_it_was(tmp_path: Path, error: BaseException) -> None:
    bundle = write_fake_bundle(tmp_path / "b")
    before = snapshot(bundle.path)
    expected = EnvironmentFailure if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        fail_half_way(bundle, error)
    assert snapshot(bundle.path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_error_of_the_disk_that_is_not_about_links_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bundle = write_fake_bundle(tmp_path / "b")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(EnvironmentFailure, match="disk full"), amended_bundle(bundle, []):
        pass


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("target", ["../elsewhere", "ABSOLUTE", "gone"])
def test_engines_that_are_kept_elsewhere_stay_there(tmp_path: Path, target: str) -> None:
    bundle = write_fake_bundle(tmp_path / "b")
    (tmp_path / "elsewhere" / "orin").mkdir(parents=True)
    points = str(tmp_path / "elsewhere") if target == "ABSOLUTE" else target
    (bundle.path / "engines").symlink_to(points)
    with amended_bundle(bundle, [NAME]) as folder:
        (folder / NAME).write_bytes(b"int8")
        seal_bundle(folder, bundle.manifest)
    assert os.readlink(bundle.path / "engines") == points
    assert (tmp_path / "elsewhere" / "orin").is_dir()
    assert load_bundle(bundle.path).file(NAME).read_bytes() == b"int8"
