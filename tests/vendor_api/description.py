"""A library's public names, as plain data: what a call may be given and what it returns.

    {"version": "10.3.0",
     "classes": {"Builder": {"create_network": {"calls": [{"names": ["flags"], "required": 0, "returns": "X"}]}}},
     "values": {"volume": {"calls": [...]}, "float32": {"calls": null}}}

`calls` is a list of overloads, or null for what is no method or whose arguments are not told.

Run as a program, `python -m tests.vendor_api.description MODULE`, it prints that of a module as JSON: native modules
are imported in a process of their own.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import re
import sys
from typing import Any

Call = dict[str, Any]
_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.+)$", flags=re.MULTILINE)


def describe_module(name: str) -> dict[str, Any]:
    """Every public name of an importable module."""
    module = importlib.import_module(name)
    classes, values = {}, {}
    for key in (key for key in dir(module) if not key.startswith("_")):
        value = getattr(module, key)
        if inspect.isclass(value):
            classes[key] = describe_class(value)
        else:
            values[key] = {"calls": describe_calls(value, method=False) if callable(value) else None}
    parent = sys.modules[name.rpartition(".")[0] or name]
    version = getattr(module, "__version__", getattr(parent, "__version__", ""))
    return {"version": version, "classes": classes, "values": values}


def describe_class(kind: type) -> dict[str, Any]:
    """Attributes of a class; enum members among them."""
    described: dict[str, Any] = {}
    for name in dir(kind):
        if name.startswith("__") and name != "__init__":
            continue
        value = inspect.getattr_static(kind, name)
        if isinstance(value, (property, enum.Enum)):
            described[name] = {"calls": None}
        else:
            described[name] = {"calls": describe_calls(getattr(kind, name, None), method=True)}
    return described


def describe_calls(value: Any, *, method: bool) -> list[Call] | None:
    """Overloads by the signatures that pybind11 writes into docstrings, else by Python's own."""
    told = [parse_signature(found[2], found[3]) for found in _SIGNATURE.finditer(getattr(value, "__doc__", None) or "")]
    if told:
        return told
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return None
    names = [p.name for p in parameters if not (method and p.name in ("self", "this"))]
    required = sum(p.default is p.empty for p in parameters if p.name in names)
    return [{"names": names, "required": required, "returns": None}]


def parse_signature(arguments: str, returns: str) -> Call:
    """`self: m.A, x: List[int], y: int = 0` -> names without self, how many must be given, what comes back.

    >>> parse_signature("self: m.A, x: Dict[str, int], y: m.B = <B.C: 0>", "m.D")
    {'names': ['x', 'y'], 'required': 1, 'returns': 'D'}
    """
    parts, depth, start = [], 0, 0
    for position, character in enumerate(arguments):
        depth += (character in "[(<{") - (character in "])>}")
        if character == "," and depth == 0:
            parts.append(arguments[start:position])
            start = position + 1
    parts = [part.strip() for part in [*parts, arguments[start:]] if part.strip()]
    parts = [part for part in parts if part.partition(":")[0].strip() not in ("self", "this", "*", "/")]
    names = [part.partition(":")[0].partition("=")[0].strip() for part in parts]
    plain = re.sub(r".*(?:\.|::)", "", returns.strip()) if re.fullmatch(r"[\w.:]+", returns.strip()) else None
    return {"names": names, "required": sum("=" not in part for part in parts), "returns": plain}


if __name__ == "__main__":
    print(json.dumps(describe_module(sys.argv[1])))
