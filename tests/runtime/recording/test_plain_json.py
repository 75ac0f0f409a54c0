"""Records become JSON that every parser accepts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stprompt_edge.runtime.recording.plain_json import json_text, to_plain
from stprompt_edge.runtime.records import Box


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (float("nan"), None),
        (np.float32("inf"), None),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ((1, "é"), [1, "é"]),
        ({"a": ()}, {"a": []}),
        (Box(x0=1, y0=2, x1=3, y1=4, probability=0.5), {"x0": 1, "y0": 2, "x1": 3, "y1": 4, "probability": 0.5}),
    ],
)
def test_plain(value: object, plain: object) -> None:
    assert to_plain(value) == plain
    assert json.loads(json_text(value)) == plain


def test_unknown_types_are_refused() -> None:
    with pytest.raises(TypeError, match="no JSON form for set"):
        to_plain({"a": {1}})
