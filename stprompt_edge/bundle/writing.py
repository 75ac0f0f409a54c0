"""`staged_folder` makes a bundle whole or not at all; `seal_bundle` writes its manifest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stprompt_edge.bundle.manifest import MANIFEST_NAME, Manifest
from stprompt_edge.bundle.reading import Bundle, CheckedFile, open_bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.files import PARTIAL_SUFFIX, disk_errors, swap_folder
from stprompt_edge.listing import data_files
from stprompt_edge.overwriting import Input, check_outputs


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """A bundle folder in the making: yields a temporary folder beside `path` that takes its place on a clean exit.

    Args:
        path: the folder to make; an older bundle there is replaced, anything else is refused.

    Raises:
        UsageError: if `path` exists and is not a bundle, or cannot be written.
        EnvironmentFailure: if the disk is full.
    """
    check_replaceable(path)
    path = path.resolve()  # a link stays, and its target is replaced
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with disk_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            swap_folder(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def seal_bundle(folder: Path, manifest: Manifest, before: Bundle | None = None) -> Bundle:
    """Write the manifest for the files that `folder` holds now, and load the bundle that this makes.

    Args:
        folder: from `staged_folder`, with every file but the manifest; folders in it (engines) are not listed.
        manifest: everything but `files`, which is filled in here.
        before: that this one comes from; files that it has too are not read again.

    Raises:
        CheckFailed: if the files and the manifest do not fit each other.
    """
    names = [file.name for file in data_files(folder) if file.name != MANIFEST_NAME]
    known = before.checked if before else {}
    checked = {name: CheckedFile.of(folder / name, known.get(name)) for name in names}
    manifest = manifest.model_copy(update={"files": {name: file.entry for name, file in checked.items()}})
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return open_bundle(folder, checked)


def check_replaceable(path: Path, inputs: Iterable[Input] = ()) -> None:
    """Refuse to overwrite what is not a bundle, and the folder that the caller is in, which would be pulled away.

    Args:
        path: of the bundle to be.
        inputs: what it is made from.

    Raises:
        UsageError: if `path` exists and is neither a bundle nor an empty folder, or holds the current folder or an
            input.
    """
    if Path.cwd().is_relative_to(path.resolve()):
        raise UsageError(f"{path} holds the current folder", remedy="choose a folder of its own: --out BUNDLE")
    if path.exists() and not (path / MANIFEST_NAME).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path} exists and is not a bundle", remedy="choose another --out, or remove it yourself")
    check_outputs(inputs, replaced=[path.resolve()])
