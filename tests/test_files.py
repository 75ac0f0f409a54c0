"""Files are whole or not there, and what the operating system refuses becomes one of our errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stprompt_edge import files
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.files import (
    PartialFile,
    PartialText,
    atomic_path,
    disk_errors,
    publish_all,
    swap_folder,
    write_bytes_atomic,
    write_text_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_as_given(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "é\r\n\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\r\n\n".encode()
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 999])
def test_bytes_replace_the_old_ones(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    write_bytes_atomic(path, content)
    assert path.read_bytes() == content
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_keeps_the_old_file_and_removes_the_partial(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error, match="stop"), atomic_path(path) as temporary:  # noqa: PT012  the block is the test
        temporary.write_text("half")
        assert names(tmp_path) == ["a.txt", "a.txt.partial"]
        raise error("stop")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk(tmp_path: Path, number: int) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(EnvironmentFailure, match=r"disk full while writing .*model\.onnx"), atomic_path(path):
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "number",
    [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EILSEQ, errno.EBUSY],
)
def test_a_place_that_cannot_be_written(number: int) -> None:
    with pytest.raises(UsageError, match=r"cannot write /nowhere/a: "), disk_errors(Path("/nowhere/a")):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV])
def test_a_disk_that_fails(number: int) -> None:
    what = f"cannot write a: {os.strerror(number)}"
    with pytest.raises(EnvironmentFailure, match=rf"{what}\n.*check the disk"), disk_errors(Path("a")):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        write_text_atomic(tmp_path / "none" / "a.txt", "x")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        write_text_atomic(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


def test_partial_text_is_on_the_disk_write_by_write(tmp_path: Path) -> None:
    partial = PartialText(tmp_path / "a.csv")
    partial.write("1\n")
    assert partial.path.read_text() == "1\n"
    partial.write("2\n")
    partial.close()
    publish_all([partial])
    assert (tmp_path / "a.csv").read_text() == "1\n2\n"
    assert names(tmp_path) == ["a.csv"]


def test_discard_is_harmless_at_any_time(tmp_path: Path) -> None:
    PartialFile(tmp_path / "never").discard()
    partial = PartialText(tmp_path / "a")
    partial.write("x")
    partial.discard()
    partial.discard()
    assert names(tmp_path) == []


def test_nothing_is_renamed_before_everything_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = PartialText(tmp_path / "a"), PartialText(tmp_path / "b")
    for partial in (first, second):
        partial.write("new")
        partial.close()
    (tmp_path / "a").write_text("old")
    sync = files._fsync

    def full_at_the_second(path: Path, flags: int) -> None:
        if path.name == "b.partial":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path, flags)

    monkeypatch.setattr(files, "_fsync", full_at_the_second)
    with pytest.raises(EnvironmentFailure, match=r"disk full while writing .*/b "):
        publish_all([first, second])
    assert (tmp_path / "a").read_text() == "old"


def folder_with(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("left_over", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, there: bool, left_over: bool) -> None:
    if there:
        folder_with(tmp_path / "a", "old")
    if left_over:
        folder_with(tmp_path / "a.old", "older")
    swap_folder(folder_with(tmp_path / "a.partial", "new"), tmp_path / "a")
    assert (tmp_path / "a" / "file").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_a_swap_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_with(tmp_path / "a", "old")
    new = folder_with(tmp_path / "a.partial", "new")
    rename = Path.rename

    def killed_before_the_second(self: Path, target: Path) -> Path:
        if self == new:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        swap_folder(new, tmp_path / "a")
    assert (tmp_path / "a.old" / "file").read_text() == "old"
    monkeypatch.undo()
    swap_folder(new, tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_a_swap_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*nowhere/a: No such file"):
        swap_folder(folder_with(tmp_path / "a.partial", "new"), tmp_path / "nowhere" / "a")


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_real_limit_of_the_operating_system(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from stprompt_edge.files import PartialText\n"
        "from stprompt_edge.errors import EnvironmentFailure\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "part = PartialText(Path(sys.argv[1]))\n"
        "try:\n  part.write('x' * 5000)\n"
        "except EnvironmentFailure as exc:\n  print(exc.what)\n"
        "part.discard()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.txt")], capture_output=True, text=True, check=True
    )
    assert "disk full while writing" in done.stdout
    assert done.stderr == ""
    assert names(tmp_path) == []


def test_one_run_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "f"
    with files.only_writer(folder):
        (folder / "a.txt").write_text("kept")
        with pytest.raises(UsageError, match=r"another run is writing to .*f\n.*another output folder"):  # noqa: SIM117
            with files.only_writer(folder):
                raise AssertionError
        with files.only_writer(tmp_path / "other"):
            pass
    assert names(folder) == ["a.txt"]
    with files.only_writer(folder):
        pass


def test_a_killed_run_keeps_nobody_out(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from stprompt_edge.files import only_writer; "
        "lock = only_writer(pathlib.Path(sys.argv[1])); lock.__enter__(); print('locked', flush=True); "
        "os.read(0, 1)"
    )
    run = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match="another run"), files.only_writer(tmp_path):
            raise AssertionError
        process.kill()
        process.communicate()
    with files.only_writer(tmp_path):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EBADF, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with files.only_writer(tmp_path), files.only_writer(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_lock_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "open", lambda *arguments: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with files.only_writer(tmp_path):
        pass


def test_a_lock_that_was_removed_when_it_was_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: (tmp_path / files.LOCK_NAME).unlink())
    with pytest.raises(UsageError, match="another run is writing"), files.only_writer(tmp_path):
        raise AssertionError
