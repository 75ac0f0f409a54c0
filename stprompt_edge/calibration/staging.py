"""A bundle with some files added or replaced: the new one takes the old one's place whole, engines included."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from stprompt_edge.bundle import MANIFEST_NAME, Bundle, staged_folder
from stprompt_edge.errors import UsageError
from stprompt_edge.listing import is_data

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}  # FAT, some network file systems


def check_own_files(bundle: Bundle) -> None:
    """Refuse to amend a bundle whose files are another program's: of a model cache, DVC or a mounted volume.

    Raises:
        UsageError: one of its files is a link.
    """
    for name in (MANIFEST_NAME, *bundle.manifest.files):
        file = bundle.path / name
        if file.is_symlink():
            raise UsageError(
                f"bundle {bundle.path} is not written into: its {name} is a link (to {os.readlink(file)}), as in a "
                "model cache or a mounted volume, whose owner would undo or lose the change",
                remedy=f"amend a copy with files of its own: cp -rL {shlex.quote(str(bundle.path))} COPY",
            )


@contextmanager
def amended_bundle(bundle: Bundle, replaced: Collection[str]) -> Iterator[Path]:
    """The bundle's folder in the making, to write files into and to seal.

    Args:
        bundle: to amend; untouched until a clean exit.
        replaced: names of files that will be written, and are left out of what is taken over.

    Raises:
        As `staged_folder`.
    """
    with staged_folder(bundle.path) as folder:
        left_out = {MANIFEST_NAME, *replaced}  # never links: writing to one would change the bundle that is in use
        for path in sorted(bundle.path.resolve().iterdir()):
            if path.name in left_out or not is_data(path.name):
                continue
            if path.is_symlink():  # engines that are kept elsewhere stay there
                (folder / path.name).symlink_to(os.readlink(path))
            elif path.is_dir():
                shutil.copytree(path, folder / path.name, symlinks=True, copy_function=_link)
            else:
                _link(path, folder / path.name)
        yield folder


def _link(source: str | Path, target: str | Path) -> str | Path:
    """A second name for a file where the disk can do that, else a copy."""
    try:
        os.link(source, target)
    except OSError as exc:
        if exc.errno not in _CANNOT_LINK:
            raise
        shutil.copy2(source, target)
    return target
