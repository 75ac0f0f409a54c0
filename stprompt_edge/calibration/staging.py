"""A bundle with some files added or replaced: the new one takes the old one's place whole, engines included."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from stprompt_edge.bundle import MANIFEST_NAME, Bundle, staged_folder
from stprompt_edge.listing import is_data

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}  # FAT, some network file systems


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
            if not is_data(path.name):
                continue
            if path.is_dir():
                shutil.copytree(path, folder / path.name, symlinks=True, copy_function=_link)
            elif path.name not in left_out:
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
