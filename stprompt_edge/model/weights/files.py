"""The tensors of a weights file: safetensors, what torch.save wrote, or a TorchScript archive. No code of it is run.

What the file is, its first bytes say; people rename files, and hubs answer with pages.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError
from stprompt_edge.imports import MORE_MEMORY, is_out_of_memory
from stprompt_edge.model.weights.torchscript import ForbiddenGlobal, read_torchscript

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
_OTHER_KINDS = {
    b"\x89HDF": "an HDF5 file (Keras, TensorFlow)", b"GGUF": "a GGUF file", b"\x1f\x8b": "a gzip archive: unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd archive: unpack it", b"\x93NUMPY": "a NumPy array",
}  # fmt: skip
_SCALAR = np.float64(0).__reduce__()[0]  # numpy's, whose module NumPy 2 has renamed
_HARMLESS: list[Any] = [  # data that training scripts keep beside the weights: their settings and scores
    argparse.Namespace, np.dtype, *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]  # fmt: skip
_DAMAGED = (
    RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError,
    AttributeError, NotImplementedError, OSError,
)  # fmt: skip
_NEST = 8  # dictionaries in dictionaries, at most
_DOWNLOAD_AGAIN = "download it again and compare its size with the one that its source gives"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file by name, as it is stored, on the CPU; names of nested dictionaries are joined by dots.

    Raises:
        UsageError: with the true reason: not a weights file, cut short, damaged, or a pickle that wants to run code.
        EnvironmentFailure: there is not enough memory.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}", remedy="check its permissions") from exc
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if head.startswith(b"\x80"):
        return _read_pickle(path)
    raise _not_weights(path, head)


def _not_weights(path: Path, head: bytes) -> UsageError:
    if not head:
        return UsageError(f"{path} is empty", remedy=_DOWNLOAD_AGAIN)
    if head.startswith(_LFS_POINTER):
        size = re.search(rb"^size (\d+)", head, flags=re.MULTILINE)
        of = f" to a file of {int(size[1]):,} bytes" if size else ""
        return UsageError(
            f"{path} is a Git LFS pointer{of}, not the file itself",
            remedy="run `git lfs pull` in its repository, or download the file itself",
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        return UsageError(
            f"{path} is a web page that was saved in place of the weights",
            remedy="use the link that downloads the file itself (on the Hugging Face hub /resolve/, not /blob/)",
        )
    kind = next((what for magic, what in _OTHER_KINDS.items() if head.startswith(magic)), "")
    start = head[:40].decode("utf-8", "replace")
    kind = kind or (f"text that begins with {start!r}" if start.isprintable() else "of no kind that holds weights")
    return UsageError(
        f"{path} is not a weights file: it is {kind}",
        remedy="pass safetensors, or what torch.save or torch.jit.save wrote",
    )


def _cut(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} is cut short: {what}", remedy=_DOWNLOAD_AGAIN)


def _damaged(path: Path, exc: Exception) -> StpromptEdgeError:
    if is_out_of_memory(exc):
        return EnvironmentFailure(f"there is not enough memory to read {path}", remedy=MORE_MEMORY)
    line = (str(exc).strip().splitlines() or [""])[0][:160]
    return UsageError(f"{path} is damaged ({type(exc).__name__}: {line})", remedy=_DOWNLOAD_AGAIN)


def _forbidden(path: Path, name: str) -> UsageError:
    return UsageError(
        f"{path} is refused: to be read it wants {name} to be called, and weights need no code; nothing of it was run",
        remedy="have the weights alone: torch.save(model.state_dict(), PATH), or safetensors",
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = file.read(min(header_size, size))
    if 8 + header_size > size:
        raise _cut(path, f"it has {size:,} bytes, its header alone {8 + header_size:,}")
    try:
        offsets = [entry["data_offsets"] for name, entry in json.loads(header).items() if name != "__metadata__"]
        whole = 8 + header_size + max((end for _, end in offsets), default=0)
        if whole > size:
            raise _cut(path, f"it has {size:,} of {whole:,} bytes")
        return load_file(path)
    except (SafetensorError, RecursionError, *_DAMAGED) as exc:
        raise _damaged(path, exc) from exc


def _read_zip(path: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(path):
        raise _cut(path, f"the end of the archive is missing after {path.stat().st_size:,} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name.partition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in entries and "data.pkl" in entries:
                return read_torchscript(archive, entries["data.pkl"].removesuffix("data.pkl"))
    except ForbiddenGlobal as exc:
        raise _forbidden(path, str(exc)) from exc
    except (RecursionError, *_DAMAGED) as exc:
        raise _damaged(path, exc) from exc
    if "data.pkl" in entries:
        return _read_pickle(path)
    what = "TorchScript of before PyTorch 1.4" if "model.json" in entries else "a zip archive without PyTorch's data"
    raise UsageError(
        f"{path} is not a weights file: it is {what}",
        remedy="pass safetensors, or what torch.save or torch.jit.save wrote",
    )


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles of a newer protocol, which are read all the same
            content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(_flatten(content))
    except (RecursionError, *_DAMAGED) as exc:
        name = re.search(r"GLOBAL (\S+)", str(exc))
        if isinstance(exc, pickle.UnpicklingError) and name:
            raise _forbidden(path, name[1]) from exc
        if isinstance(exc, EOFError) or "unexpected EOF" in str(exc):
            raise _cut(path, f"it ends after {path.stat().st_size:,} bytes in the middle of its data") from exc
        raise _damaged(path, exc) from exc


def _flatten(content: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """A checkpoint may hold dictionaries in dictionaries: weights, their average, the optimizer's state."""
    if isinstance(content, Tensor):
        yield name, content.detach()
    elif isinstance(content, dict | list | tuple) and depth < _NEST:
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in parts:
            yield from _flatten(value, f"{name}.{key}" if name else str(key), depth + 1)
