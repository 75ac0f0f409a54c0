"""What a folder holds that is data: all listings of pictures, videos, lists and masks leave out the same things."""

from __future__ import annotations

import os
from pathlib import Path

# what systems leave in folders without hiding it: Windows, macOS's archiver, Synology, the trash and repair of disks
_LITTER = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information",
    "lost+found",
})  # fmt: skip


def is_data(name: str) -> bool:
    """Is a file or folder of this name one that somebody put there?

    Hidden ones are not: macOS puts a `._x.jpg` (AppleDouble) beside every `x.jpg` on other disks, and `.DS_Store`.
    """
    return not name.startswith(".") and name.casefold() not in _LITTER


def data_files(folder: Path) -> list[Path]:
    """The files directly in a folder, or links to some, sorted by name.

    Raises:
        OSError: it is not there, is no folder, or cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if is_data(entry.name) and entry.is_file())
