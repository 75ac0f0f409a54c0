"""What every backend offers: encode frames and windows, run the heads, close.

Suffixes: B frames, K fine windows, L coarse windows, N rows, D width of the embedding, C abnormal classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self  # in `typing` from Python 3.11 on


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Embeddings, float32, not normalised; owned by the receiver."""

    frame: NDArray[np.float32]  # [B, D]
    fine: NDArray[np.float32]  # [B, K, D]
    coarse: NDArray[np.float32]  # [B, L, D]


@dataclass(frozen=True, kw_only=True)
class HeadsOutput:
    """What the branches say, float32; owned by the receiver."""

    anomaly_logit: NDArray[np.float32]  # [N]
    similarity: NDArray[np.float32]  # [N, 1+C]


class Backend(Protocol):
    """A bundle's graphs, open on one device."""

    description: str  # for people: engine, device and file

    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """Embed preprocessed frames [B, 3, S, S] and chosen windows of each: indices [B, K] and [B, L]."""

    def heads(self, context: NDArray[np.float32], clip: NDArray[np.float32]) -> HeadsOutput:
        """Rows of A (x_clip + x_as) [N, D] and x_clip [N, D] -> logits."""

    def close(self) -> None:
        """Free the device; the backend cannot be used afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
