"""Our records as JSON that every parser accepts."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np

from stprompt_edge.files import printable


def to_plain(value: Any) -> Any:
    """Records, tuples and numpy values as dict, list, int, float, str, bool or None.

    NaN and infinity become None; text is made `printable`, since strict parsers refuse lone surrogates.

    Raises:
        TypeError: a value of another type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {printable(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return to_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}: records hold numbers, text, lists and records only")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """`to_plain` as text. Raises TypeError as `to_plain`."""
    return json.dumps(to_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
