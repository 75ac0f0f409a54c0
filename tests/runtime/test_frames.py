"""NV12 frames: the integers of their colour rule, and planes that do not fit each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stprompt_edge.runtime.frames import Nv12Frame, colour_rule


def test_sums_fit_32_bits() -> None:
    for matrix in ("bt601", "bt709"):
        rule = colour_rule(matrix, full_range=False)  # type: ignore[arg-type]
        assert 239 * rule.luma_gain + 128 * (abs(rule.green_u) + abs(rule.green_v) + rule.red_v + rule.blue_u) < 2**31


LUMA, CHROMA = np.zeros((4, 6), np.uint8), np.zeros((2, 3, 2), np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": "bt2020"}, "unknown colour matrix 'bt2020', known: bt601, bt709"),
        ({"luma": LUMA.astype(np.float32)}, r"must be \[H, W\] uint8, got \(4, 6\) float32"),
        ({"luma": LUMA[:, :, None]}, r"must be \[H, W\] uint8, got \(4, 6, 1\)"),
        ({"chroma": CHROMA[:1]}, r"chroma of a 6x4 NV12 frame must be \(2, 3, 2\), got \(1, 3, 2\)"),
        ({"chroma": CHROMA.astype(np.int8)}, "uint8"),
    ],
)
def test_refuses_planes_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Nv12Frame(luma=LUMA, chroma=CHROMA), **change)
