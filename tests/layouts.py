"""A bundle's folder as caches and volumes lay it out: names that link to where the files are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

Layout = Callable[[Path, Path], Path]  # the plain folder, and an empty one -> the folder of links


def hugging_face(plain: Path, root: Path) -> Path:
    """`snapshots/COMMIT/NAME -> ../../blobs/HASH`, relative."""
    blobs, snapshot = root / "models--a--b" / "blobs", root / "models--a--b" / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in plain.iterdir():
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        (blobs / name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", name))
    return snapshot


def dvc(plain: Path, root: Path) -> Path:
    """`NAME -> /CACHE/files/md5/ab/cdef...`, absolute, to files that nobody may write."""
    folder = root / "bundle"
    folder.mkdir()
    for file in plain.iterdir():
        name = hashlib.md5(file.read_bytes()).hexdigest()
        target = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        target.chmod(0o444)
        (folder / file.name).symlink_to(target)
    return folder


def kubernetes(plain: Path, root: Path) -> Path:
    """`NAME -> ..data/NAME`, `..data -> ..TIME`: a ConfigMap's or Secret's volume."""
    folder, dated = root / "volume", "..2026_01_02_03_04_05.123456789"
    (folder / dated).mkdir(parents=True)
    (folder / "..data").symlink_to(dated)
    for file in plain.iterdir():
        (folder / dated / file.name).write_bytes(file.read_bytes())
        (folder / file.name).symlink_to(Path("..data", file.name))
    return folder


def one_link(plain: Path, root: Path) -> Path:
    """The folder itself is a link, over another one."""
    (root / "v2").symlink_to(plain)
    (root / "current").symlink_to("v2")
    return root / "current"


LAYOUTS: dict[str, Layout] = {"hugging-face": hugging_face, "dvc": dvc, "kubernetes": kubernetes}


def contents(root: Path) -> dict[str, bytes | str]:
    """Every file and link below, links by where they point."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = os.readlink(path)
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found
