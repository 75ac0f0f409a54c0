"""How to extract features, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.bundle import ENCODER_NAMES
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.runtime.sources import check_fps

BACKENDS = ("auto", "onnx", "torch")
TORCH_PRECISIONS = ("fp32", "fp16")
CPU_BATCH, CUDA_BATCH = 1, 32  # sampled frames at once; a CPU gains nothing from more


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """What a user types.

    Raises:
        UsageError: an unknown backend or precision, a rate that cannot be, or an option that the backend would not use.
    """

    bundle: Path
    stride: int
    keep_windows: bool = False
    processes: int = 1
    backend: str = "auto"
    precision: str | None = None  # None: ONNX Runtime's fastest in the bundle, or fp32 in torch
    batch: int | None = None  # sampled frames at once; None for `CPU_BATCH` or `CUDA_BATCH`
    pretrained: str | None = None  # CLIP weights for torch; None for those that the bundle names
    fps: float | None = None  # of image folders
    force: bool = False  # although the disk seems too small

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if self.backend not in BACKENDS:
            raise UsageError(f"unknown --backend '{self.backend}'", remedy=nearest(self.backend, BACKENDS))
        known = TORCH_PRECISIONS if self.backend == "torch" else tuple(ENCODER_NAMES)
        if self.precision is not None and self.precision not in known:
            where = " for torch" if self.backend == "torch" else ""
            raise UsageError(f"unknown --precision '{self.precision}'{where}", remedy=nearest(self.precision, known))
        if self.pretrained is not None and self.backend == "onnx":
            remedy = "leave it out: the bundle's graph holds its weights; or use --backend torch"
            raise UsageError("--pretrained is for --backend torch", remedy=remedy)
