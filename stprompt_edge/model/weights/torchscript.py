"""The tensors of a TorchScript archive, which is how OpenAI publishes CLIP, without running the program in it.

    NAME/data.pkl        a pickle of the module tree; its classes are the archive's own (`__torch__....`)
    NAME/data/0, 1, ...  the bytes of each storage, little endian
    NAME/code/...        the program; not looked at

The pickle is read with an unpickler that knows four kinds of names and refuses every other: no class is imported.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_LISTS = {"build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag"}


class ForbiddenGlobal(Exception):
    """The pickle names something that a module of tensors does not need."""


class _Module:
    """Any module of the archive: its attributes are put here by the unpickler."""


def read_torchscript(archive: zipfile.ZipFile, root: str) -> dict[str, Tensor]:
    """Parameters and buffers by the names that `state_dict` gives them.

    Args:
        archive: open.
        root: of its entries, `NAME/`.

    Raises:
        ForbiddenGlobal: names what the pickle wants beyond tensors and modules.
        Exception: whatever zipfile, pickle and torch raise when the archive is damaged.
    """
    with archive.open(f"{root}data.pkl") as file:
        module = _ArchiveUnpickler(file, archive, root).load()
    return dict(_tensors(module))


class _ArchiveUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch.jit._pickle" and name in _LISTS:
            return _first
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise ForbiddenGlobal(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage as a flat tensor: ("storage", type, entry, device, length)."""
        _, kind, key, _, length = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}data/{key}"))
            empty = torch.empty(0, dtype=_STORAGES[kind])
            self._storages[key] = torch.frombuffer(content, dtype=_STORAGES[kind]) if content else empty
        storage = self._storages[key]
        if len(storage) < length:
            raise ValueError(f"storage {key} has {len(storage)} values, expected {length}")
        return storage


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)  # checked against the storage


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensors(module: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    for attribute, value in vars(module).items():
        if isinstance(value, Tensor):
            yield name + attribute, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{name}{attribute}.")
