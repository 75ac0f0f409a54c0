"""What a calibration is asked for, and what it finds. Frozen and plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.bundle import ParityFigures
from stprompt_edge.calibration.frames import FEWEST_FRAMES, Choice
from stprompt_edge.errors import UsageError, nearest

Progress = Callable[[str, float], None]  # what is being done, and the fraction of the whole that is done

METHODS = ("entropy", "percentile", "minmax")  # of choosing an activation's range; see `ranges`


@dataclass(frozen=True, kw_only=True)
class Int8Settings:
    """How to calibrate.

    Args:
        footage: video files or image folders.
        out: folder of the report.
        frames: to calibrate with.
        method: of `METHODS`.
        dataset: labelled videos to compare the AUC on; None for no such figure.
        dataset_format: of it; auto tells by its files.
        force: keep a graph that misses parity.

    Raises:
        UsageError: unknown method, no footage or too few frames.
    """

    footage: tuple[str, ...]
    out: Path
    frames: int = 256
    method: str = "minmax"
    dataset: Path | None = None
    dataset_format: str = "auto"
    force: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"unknown method '{self.method}'", remedy=nearest(self.method, METHODS))
        if not self.footage:
            raise UsageError("no footage given", remedy="pass ordinary footage of your cameras: --footage a.mp4 b.mp4")
        if self.frames < FEWEST_FRAMES:
            raise UsageError(
                f"--frames is {self.frames}, at least {FEWEST_FRAMES} are needed", remedy="leave it out: 256 are usual"
            )


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of the report."""

    label: str  # its parameter's name in torch
    node: str
    op_type: str
    weight: str  # shape, as 768x2304
    range: float  # largest magnitude of its activation that int8 holds
    cost: float  # 1 - smallest cosine with this layer alone in int8
    int8: bool


@dataclass(frozen=True, kw_only=True)
class AucFigures:
    """The same labelled videos scored by both encoders."""

    dataset: str
    of: str  # frames, or videos where no frame is annotated
    fp32: float
    int8: float


@dataclass(frozen=True, kw_only=True)
class Int8Calibration:
    """What `calibrate_int8` found and wrote."""

    settings: Int8Settings
    choice: Choice
    layers: tuple[LayerRow, ...]  # in the graph's order
    parity: ParityFigures
    auc: AucFigures | None
    notes: tuple[str, ...]

    @property
    def left_in_float(self) -> tuple[LayerRow, ...]:
        """The layers that parity did not allow, costliest first."""
        return tuple(sorted((row for row in self.layers if not row.int8), key=lambda row: -row.cost))
