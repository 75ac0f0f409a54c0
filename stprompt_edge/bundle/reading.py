"""`load_bundle` refuses a folder unless everything in it fits; nothing in a bundle is pickled."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from stprompt_edge.bundle.graphs import ENCODER_NAMES, HEADS_NAME, METHOD_TRAITS, MethodTraits
from stprompt_edge.bundle.manifest import MANIFEST_NAME, SCHEMA_VERSION, TEXT_NAME, FileEntry, Manifest
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.vocabulary import Vocabulary, vocabulary_from_dict

_BARE_FOLDER = f"a folder without {MANIFEST_NAME}"
_MAX_NAME_BYTES = 255  # of a file's name, on every file system that matters


@dataclass(frozen=True, kw_only=True)
class TextEmbeddings:
    """Precomputed prompts, float32, unit length, C abnormal classes, D the embedding width."""

    label_prompts: NDArray[np.float32]  # [1+C, D], row 0 is `normal`
    normal_phrases: NDArray[np.float32]  # [N, D]
    abnormal_phrases: NDArray[np.float32]  # [A, D]

    def as_dict(self) -> dict[str, NDArray[np.float32]]:
        """The tensors by their names in text.safetensors."""
        return {
            "label_prompts": self.label_prompts,
            "normal_phrases": self.normal_phrases,
            "abnormal_phrases": self.abnormal_phrases,
        }


@dataclass(frozen=True)
class CheckedFile:
    """A file's digest, and what the file system said of it before the digest was taken: it holds as long as that does.

    So a file is read for its digest once, by whichever part of a command, or process of it, comes first.
    """

    entry: FileEntry
    stamp: tuple[int, ...]  # bytes, time of the last change, and which file of which disk

    @classmethod
    def of(cls, path: Path, before: CheckedFile | None = None) -> CheckedFile:
        """Of the file as it is now; `before` itself where nothing has changed since."""
        found = path.stat()
        stamp = (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
        if before is not None and before.stamp == stamp:
            return before
        return cls(describe_file(path), stamp)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checked bundle, open for reading."""

    path: Path
    manifest: Manifest
    preprocessing: Preprocessing
    geometry: Geometry
    vocabulary: Vocabulary
    text: TextEmbeddings
    checked: Mapping[str, CheckedFile] = field(default_factory=dict, compare=False, repr=False)  # by file name

    @property
    def precisions(self) -> tuple[str, ...]:
        """The encoder precisions that the bundle holds, in the order of `ENCODER_NAMES`."""
        return tuple(name for name, file in ENCODER_NAMES.items() if file in self.manifest.files)

    @property
    def sizes(self) -> dict[str, int]:
        """Of the axes that do not change from call to call, by their letters in `graphs`."""
        return {
            "S": self.geometry.image_size,
            "D": self.manifest.clip.embedding_width,
            "F": self.geometry.fine_count,
            "C": len(self.vocabulary.class_names),
        }

    @property
    def traits(self) -> MethodTraits:
        """What the contract knows of its method."""
        return METHOD_TRAITS[self.manifest.method.name]

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists; still the one that was checked.

        Raises:
            UsageError: if the bundle was exported without it.
            CheckFailed: if it has changed since.
        """
        if name not in self.manifest.files:
            raise UsageError(
                f"bundle {self.path} holds no {name}, only {', '.join(sorted(self.manifest.files))}",
                remedy="export again with the precision that you need (--precision fp32,fp16,cpu8)",
            )
        if name in self.checked:
            _check_file(self.path, name, self.manifest.files[name], self.checked[name])
        return self.path / name


def load_bundle(path: Path | str) -> Bundle:
    """Open a bundle after checking every file of it.

    Args:
        path: the folder that `stprompt-edge export` wrote.

    Returns:
        The manifest, geometry, vocabulary and text embeddings; graphs are left to the backends.

    Raises:
        UsageError: if there is no bundle at `path`, or it may not be read.
        CheckFailed: if the bundle is newer than this program, damaged, incomplete or inconsistent.
    """
    return open_bundle(Path(path), {})


def open_bundle(path: Path, checked: Mapping[str, CheckedFile]) -> Bundle:
    """`load_bundle`, without reading files for their digests again that are as they were when they were `checked`."""
    try:
        return _load(path, checked)
    except OSError as exc:
        raise UsageError(
            f"bundle {path}: {exc.filename or 'a file'} cannot be read: {exc.strerror or exc}",
            remedy="see to it that you may read it, and what its links point to",
        ) from exc


def _load(path: Path, checked: Mapping[str, CheckedFile]) -> Bundle:
    if not (path / MANIFEST_NAME).is_file():
        raise UsageError(
            f"no bundle at {path}: it is {_in_place_of_a_bundle(path)}",
            remedy="make one with: stprompt-edge export --out BUNDLE",
        )
    manifest = _read_manifest(path)
    checked = {name: _check_file(path, name, entry, checked.get(name)) for name, entry in manifest.files.items()}
    _check_complete(path, manifest)
    geometry = _manifest_geometry(path, manifest)
    try:
        vocabulary = vocabulary_from_dict(manifest.vocabulary, where=f"{MANIFEST_NAME}, vocabulary")
    except UsageError as exc:
        raise _damaged(path, exc.what) from exc
    return Bundle(
        path=path,
        manifest=manifest,
        preprocessing=Preprocessing(**manifest.preprocessing.model_dump()),
        geometry=geometry,
        vocabulary=vocabulary,
        text=_read_text(path, manifest, vocabulary),
        checked=checked,
    )


def describe_file(path: Path) -> FileEntry:
    """Size and sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return FileEntry(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def _damaged(path: Path, what: str) -> CheckFailed:
    return CheckFailed(f"bundle {path}: {what}", remedy="export it again, or copy it again from where it came")


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST_NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as exc:  # not UTF-8, not JSON, a number too long, nested too deep
        raise _damaged(path, f"{MANIFEST_NAME} is not JSON ({exc})") from exc
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CheckFailed(
            f"bundle {path} has schema {version}, this program reads up to {SCHEMA_VERSION}",
            remedy="upgrade: pip install --upgrade stprompt-edge",
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{MANIFEST_NAME}, {where or 'top level'}: {first['msg']}") from exc


def _check_file(path: Path, name: str, entry: FileEntry, before: CheckedFile | None = None) -> CheckedFile:
    """One listed file: named as inside the folder, there, and unchanged.

    It may be a link: model caches, DVC and Kubernetes volumes lay folders out so. What it holds is proved by its hash.
    """
    pure = PurePosixPath(name)
    file = path / name
    odd = not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES or "\\" in name or str(pure) != name
    if odd or pure.is_absolute() or ".." in pure.parts:
        raise _damaged(path, f"{MANIFEST_NAME} lists {name!r}, which is not a path inside the bundle")
    if not file.is_file():
        raise _damaged(path, f"{name} is {_missing(file)}")
    if file.stat().st_size != entry.bytes:
        raise _damaged(path, f"{name} has {file.stat().st_size} bytes, expected {entry.bytes}")
    found = CheckedFile.of(file, before)
    if found.entry.sha256 != entry.sha256:
        raise _damaged(path, f"{name} was changed: its sha256 is not the one in {MANIFEST_NAME}")
    return found


def _in_place_of_a_bundle(path: Path) -> str:
    manifest = path / MANIFEST_NAME
    if path.is_dir():
        return f"a folder whose {MANIFEST_NAME} is {_missing(manifest)}" if manifest.is_symlink() else _BARE_FOLDER
    return "not a folder" if path.exists() else _missing(path)


def _missing(path: Path) -> str:
    """That no file is there, and what is, for people who see the name in its folder."""
    kind = "a folder" if path.is_dir() else "not a file" if path.exists() else ""
    if path.is_symlink():
        return f"missing ({'' if kind else 'broken '}link to {os.readlink(path)}{kind and f', {kind}'})"
    return f"missing ({kind} is there)" if kind == "a folder" else "missing"


def _check_complete(path: Path, manifest: Manifest) -> None:
    needed = [TEXT_NAME] + ([HEADS_NAME] if METHOD_TRAITS[manifest.method.name].needs_heads else [])
    for name in needed:
        if name not in manifest.files:
            raise _damaged(path, f"{MANIFEST_NAME} does not list {name}, which {manifest.method.name} needs")
    if not set(ENCODER_NAMES.values()) & set(manifest.files):
        raise _damaged(path, f"{MANIFEST_NAME} lists no encoder")
    if manifest.alarm.threshold_off > manifest.alarm.threshold_on:
        raise _damaged(path, "alarm.threshold_off is above alarm.threshold_on")


def _manifest_geometry(path: Path, manifest: Manifest) -> Geometry:
    section = manifest.geometry
    try:
        geometry = Geometry(
            image_size=section.image_size,
            patch_size=section.patch_size,
            fine=WindowGrid(**section.fine.model_dump()),
            coarse=WindowGrid(**section.coarse.model_dump()),
        )
    except ValueError as exc:
        raise _damaged(path, f"{MANIFEST_NAME}, geometry: {exc}") from exc
    if section.image_size != manifest.preprocessing.size:
        raise _damaged(
            path, f"geometry is for {section.image_size} px, preprocessing for {manifest.preprocessing.size}"
        )
    windows, traits = manifest.method.windows, METHOD_TRAITS[manifest.method.name]
    least = geometry.fine_count if traits.all_windows else traits.least_windows
    if not least <= windows <= geometry.fine_count:
        needs = f", {manifest.method.name} judges all" if traits.all_windows else ""
        raise _damaged(path, f"method.windows is {windows} of {geometry.fine_count} fine windows{needs}")
    return geometry


def _read_text(path: Path, manifest: Manifest, vocabulary: Vocabulary) -> TextEmbeddings:
    width = manifest.clip.embedding_width
    expected = {
        "label_prompts": (len(vocabulary.class_names), width),
        "normal_phrases": (len(vocabulary.normal_phrases), width),
        "abnormal_phrases": (len(vocabulary.abnormal_phrases), width),
    }
    try:
        with safe_open(path / TEXT_NAME, framework="np") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a dict
            _check_headers(path, headers, expected)
            tensors = {name: file.get_tensor(name) for name in expected}
    except SafetensorError as exc:
        raise _damaged(path, f"{TEXT_NAME} is not a safetensors file ({exc})") from exc
    for name, tensor in tensors.items():
        length_error = float(np.abs(np.linalg.norm(tensor, axis=1) - 1).max())
        if not math.isfinite(length_error) or length_error > 1e-3:
            lost = int(tensor.size - np.count_nonzero(np.isfinite(tensor)))
            why = f": {lost} of its values are NaN or infinite" if lost else ""
            raise _damaged(path, f"{TEXT_NAME}, {name} is not of unit length{why}")
    return TextEmbeddings(**tensors)


def _check_headers(path: Path, headers: dict[str, Any], expected: dict[str, tuple[int, int]]) -> None:
    """Names, types and shapes, before any tensor is read: NumPy lacks some of the types that a file may name."""
    if set(headers) != set(expected):
        raise _damaged(path, f"{TEXT_NAME} holds {sorted(headers)}, expected {sorted(expected)}")
    for name, shape in expected.items():
        got = headers[name].get_dtype(), tuple(headers[name].get_shape())
        if got != ("F32", shape):
            raise _damaged(path, f"{TEXT_NAME}, {name} is {got[0]}{list(got[1])}, expected F32{list(shape)}")
