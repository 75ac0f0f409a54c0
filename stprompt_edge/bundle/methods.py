"""What the contract knows of each method."""

from __future__ import annotations

from dataclasses import dataclass

from stprompt_edge.bundle.graphs import HEADS, RANKING_HEADS, Graph
from stprompt_edge.bundle.manifest import MethodName


@dataclass(frozen=True, kw_only=True)
class MethodTraits:
    """What its bundle must hold, and what of a frame it looks at."""

    heads: Graph = HEADS  # of heads.onnx
    needs_heads: bool = True
    least_windows: int = 0  # that SA² selects
    all_windows: bool = False  # its heads judge every fine window; their motion is not used
    judged_on_device: bool = False  # aggregation, kernel and heads run on a device that has a stream of its own


METHOD_TRAITS: dict[MethodName, MethodTraits] = {
    "stprompt": MethodTraits(judged_on_device=True),
    "mil-ranking": MethodTraits(heads=RANKING_HEADS, all_windows=True),
    "zero-shot": MethodTraits(needs_heads=False, least_windows=1),
}
