"""Files that are either whole or not there: write to `NAME.partial`, fsync, rename.

One run at a time writes to a folder (`only_writer`).
The one place where the operating system's refusals (disk full, no permission) become our errors, and where text becomes
bytes: a name with bytes that are no UTF-8 is spelled out (`printable`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from stprompt_edge.errors import EnvironmentFailure, UsageError

PARTIAL_SUFFIX = ".partial"
OLD_SUFFIX = ".old"  # of a folder while another takes its place
LOCK_NAME = ".lock"  # in a folder while a run writes to it
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG,
    errno.EINVAL, errno.EILSEQ, errno.ELOOP,
    errno.EBUSY,  # a mounted folder cannot be renamed
}  # fmt: skip


def printable(text: str) -> str:
    """The text as UTF-8 can hold it.

    A file name may have bytes that are none; Python keeps them as lone surrogates, which no file, chart or strict JSON
    parser takes, and here they are spelled out.

    >>> import os
    >>> print(printable(os.fsdecode(b"caf\\xe9.mp4")))
    caf\\udce9.mp4
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_disk_full(error: OSError) -> bool:
    """Disk or quota full, or the file is larger than the file system or limit allows."""
    return error.errno in _DISK_FULL


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translates what the operating system says while `path` is written.

    Raises:
        EnvironmentFailure: disk or quota full, the file is larger than the file system or limit allows, or the disk or
            its network fails.
        UsageError: the place cannot be written: permission, read-only, a file where a folder should be, no such folder,
            a name that the file system does not take.
    """
    try:
        yield
    except OSError as exc:
        if is_disk_full(exc):
            raise EnvironmentFailure(
                f"disk full while writing {path} ({exc.strerror or exc})",
                remedy="free some space or choose another output folder, then run again; no half-written file was left",
            ) from exc
        if exc.errno in _REFUSED:
            raise UsageError(
                f"cannot write {path}: {exc.strerror or exc}", remedy="choose an output place that you can write to"
            ) from exc
        raise EnvironmentFailure(
            f"cannot write {path}: {exc.strerror or exc}",
            remedy="check the disk, or its network, or choose another output folder, then run again",
        ) from exc


def check_writable(folder: Path) -> None:
    """Refuse a folder, which need not exist, where no file can be written: before work of hours, not after it.

    Raises as `disk_errors`.
    """
    with disk_errors(folder), tempfile.TemporaryFile(dir=_nearest_there(folder)):
        pass


def longest_name(folder: Path) -> int:
    """How many bytes the name of a file to be written below `folder`, which need not exist, may have."""
    try:
        longest = os.pathconf(_nearest_there(folder), "PC_NAME_MAX")
    except (AttributeError, OSError):  # Windows, or a file system that does not say
        longest = 255
    return longest - len(PARTIAL_SUFFIX)


def _nearest_there(path: Path) -> Path:
    """The path itself or the folder above it that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


class PartialFile:
    """A file on its way: written at `.path`, seen at `.target` only after `publish`.

    Two writers of the same target at the same time are not supported: see `only_writer`.

    Args:
        target: the final path; its folder must exist.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + PARTIAL_SUFFIX)

    def sync(self) -> None:
        """Puts the bytes on the disk. Raises as `disk_errors`."""
        with disk_errors(self.target):
            _fsync(self.path, os.O_RDWR)

    def publish(self) -> None:
        """Renames to the target, replacing what was there. Raises as `disk_errors`."""
        with disk_errors(self.target):
            os.replace(self.path, self.target)

    def discard(self) -> None:
        """Removes the partial file; the target stays as it was. Harmless when there is none, and never raises."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class PartialText(PartialFile):
    """A UTF-8 text file that grows on the disk write by write, so that its content never waits in memory.

    Text that UTF-8 cannot hold is spelled out, as by `printable`.

    Raises as `disk_errors`.
    """

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        with disk_errors(target):
            self.path.unlink(missing_ok=True)  # what a killed run left; never write through a link
            self._file = open(self.path, "w", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: SIM115

    def write(self, text: str) -> None:
        """Appends and hands over to the operating system; a failed write discards the file. Raises as `disk_errors`."""
        with disk_errors(self.target):
            try:
                self._file.write(text)
                self._file.flush()
            except OSError:
                self.discard()  # here, because a subclass may write while it is being made and have no owner yet
                raise

    def close(self) -> None:
        """No more text follows. Raises as `disk_errors`."""
        with disk_errors(self.target):
            self._file.close()

    def discard(self) -> None:
        """Closes and removes the partial file; never raises."""
        with contextlib.suppress(OSError):  # what could not be written before cannot be flushed now either
            self._file.close()
        super().discard()


def publish_all(partials: Sequence[PartialFile]) -> None:
    """Publishes files that belong together: all are on the disk before the first is renamed.

    Raises as `disk_errors`; then the caller discards what is left.
    """
    for partial in partials:
        partial.sync()
    for partial in partials:
        partial.publish()
    for folder in {partial.target.parent for partial in partials}:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut, where the file system can (some network ones cannot)."""
    with contextlib.suppress(OSError):
        _fsync(folder, os.O_RDONLY)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; a clean exit renames it to `path`, an exception removes it.

    Raises:
        EnvironmentFailure, UsageError: as `disk_errors`, also for what the body raises.
    """
    partial = PartialFile(path)
    try:
        with disk_errors(path):
            partial.path.unlink(missing_ok=True)  # what a killed run left; never write through a link
            yield partial.path
        publish_all([partial])
    except BaseException:
        partial.discard()
        raise


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Writes `content` so that `path` holds the old or the new bytes, never a part. Raises as `disk_errors`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, line ends as given, and spelled out as by `printable`. Raises as `disk_errors`."""
    write_bytes_atomic(path, text.encode("utf-8", "backslashreplace"))


def swap_folder(new: Path, path: Path) -> None:
    """Put the folder `new` at `path`, on the same disk; a kill between the two renames leaves what was at `PATH.old`.

    Raises as `disk_errors`.
    """
    with disk_errors(path):
        sync_folder(new)
        old = path.with_name(path.name + OLD_SUFFIX)
        if path.exists():  # else a kill may have left the only good one there
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        new.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make `folder`, and keep other runs out of it while the body runs; a killed run keeps nobody out.

    Where the file system has no locks (some network ones) nobody is kept out.

    Raises:
        UsageError: another run writes there. Also as `disk_errors`.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_NAME, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as exc:
        remedy = "wait until it has ended, or choose another output folder"
        raise UsageError(f"another run is writing to {folder}", remedy=remedy) from exc
    except (OSError, NotImplementedError):  # a folder that cannot be written says so at the first file
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK_NAME).unlink()  # before others can have it
        lock.release()


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
