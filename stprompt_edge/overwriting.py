"""No output of a command may be one of its inputs: every command asks here before its first write.

What is there is compared by what it is (device and inode), so that links of both kinds, `..` and other spellings of a
path count. Files are asked about with the `.partial` that they are written to, replaced folders with `.partial` and
`.old` beside them (`files.PartialFile`, `files.swap_folder`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stprompt_edge.errors import UsageError
from stprompt_edge.files import OLD_SUFFIX, PARTIAL_SUFFIX

Input = tuple[str, str | Path | None]  # what people call it, and where it is; None: it was not given
_Identity = tuple[int, int]  # device and inode


def check_outputs(
    inputs: Iterable[Input],
    *,
    files: Iterable[Path] = (),
    folder: Path | None = None,
    replaced: Iterable[Path] = (),
    option: str = "--out",
) -> None:
    """Refuse to write over an input.

    Args:
        inputs: files, and folders whose own entries are read; what is not there cannot be lost.
        files: that will be written or removed.
        folder: that files will be written into; it may hold inputs, but may not be one.
        replaced: folders that will be replaced or removed with all that they hold.
        option: that chooses another place.

    Raises:
        UsageError: names the input, the output that would take its place, and the option.
    """
    given = [(what, Path(path)) for what, path in inputs if path is not None]
    if folder is not None:
        _check_folder(given, folder, option)
    _check_files(given, files, option)
    for one in replaced:
        _check_replaced(given, one, option)


def given_file(text: str | None) -> Path | None:
    """What may be a file or a name of something shipped or fetched, as an input: the file, where it is one."""
    return Path(text) if text is not None and os.path.isfile(text) else None


def _check_files(inputs: Iterable[tuple[str, Path]], files: Iterable[Path], option: str) -> None:
    written: dict[_Identity, Path] = {}
    for file in files:
        for path in (file, _beside(file, PARTIAL_SUFFIX)):
            if there := _identity(path):
                written[there] = path
    if not written:
        return
    for what, path in inputs:
        for entry in (path, *_entries(path)):
            if output := written.get(_identity(entry) or (-1, -1)):
                which = f"the {what} {path}" if entry == path else f"{entry.name} of the {what} {path}"
                raise _refused(f"the output {output} is {which}, which would be lost", option)


def _check_folder(inputs: Iterable[tuple[str, Path]], folder: Path, option: str) -> None:
    there = _identity(folder)
    for what, path in inputs:
        if there is not None and _identity(path) == there:
            raise _refused(f"the output folder {folder} is the {what} {path}", option)


def _check_replaced(inputs: Iterable[tuple[str, Path]], folder: Path, option: str) -> None:
    removed = {
        there: path
        for path in (folder, _beside(folder, PARTIAL_SUFFIX), _beside(folder, OLD_SUFFIX))
        if (there := _identity(path))
    }
    for what, path in inputs:
        for place in _places(path) if removed else ():
            if holder := removed.get(_identity(place) or (-1, -1)):
                raise _refused(f"{holder} is replaced with all that it holds, and the {what} {path} is in it", option)


def _refused(what: str, option: str) -> UsageError:
    return UsageError(what, remedy=f"choose another place with {option}; nothing was written")


def _identity(path: str | Path) -> _Identity | None:
    """None where nothing is, or nothing that this user may look at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found.st_dev, found.st_ino


def _entries(path: Path) -> Iterator[Path]:
    """What is in a folder; nothing for a file, and what it reads without looking into a pipe."""
    try:
        yield from path.iterdir() if path.is_dir() else ()
    except (OSError, ValueError):  # it cannot be read as an input either
        return


def _places(path: Path) -> Iterator[str]:
    """A path and the folders above it, links resolved; of a linked file also the folders above its link."""
    if "\0" in str(path):
        return
    for start in {os.path.realpath(path), os.path.join(os.path.realpath(path.parent), path.name)}:
        yield start
        yield from map(str, Path(start).parents)


def _beside(path: Path, suffix: str) -> Path:
    return Path(f"{path}{suffix}")
