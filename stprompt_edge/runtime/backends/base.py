"""What every backend offers: encode frames and windows, run the heads, close.

Suffixes: B frames, K fine windows, L coarse windows, N rows, D width of the embedding, C abnormal classes, F all fine
windows (49).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import ENCODER
from stprompt_edge.runtime.closing import Closing
from stprompt_edge.runtime.frames import Nv12Frame
from stprompt_edge.runtime.motion import Selection


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Embeddings, float32, not normalised; owned by the receiver."""

    frame: NDArray[np.float32]  # [B, D]
    fine: NDArray[np.float32]  # [B, K, D]
    coarse: NDArray[np.float32]  # [B, L, D]

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, NDArray[np.float32]], fine: int, coarse: int) -> Encoded:
        """The encoder's outputs by name, without the windows that were added as padding.

        Args:
            outputs: axis 1 of the windows' may be longer than what was asked for.
            fine, coarse: windows of each frame that were.
        """
        frame, fine_embeddings, coarse_embeddings = (outputs[name] for name in ENCODER.outputs)
        return cls(frame=frame, fine=fine_embeddings[:, :fine], coarse=coarse_embeddings[:, :coarse])


@dataclass(frozen=True, kw_only=True)
class HeadsOutput:
    """What the heads say, float32; owned by the receiver. None is what the bundle's method does not have."""

    anomaly_logit: NDArray[np.float32]  # [N]
    similarity: NDArray[np.float32] | None = None  # [N, 1+C], stprompt
    window_logits: NDArray[np.float32] | None = None  # [N, F], mil-ranking


@dataclass(frozen=True, kw_only=True)
class WatchedFrame:
    """What a device says of one sampled frame whose embeddings come back; owned by the receiver."""

    frame_D: NDArray[np.float32]  # x_clip
    selected_KD: NDArray[np.float32]  # embeddings of the windows in `selection`, in its order
    selection: Selection


@dataclass(frozen=True, kw_only=True)
class JudgedFrame:
    """What a device says of one sampled frame that it has also aggregated, smoothed and judged (eq. 2-5)."""

    frame_D: NDArray[np.float32]  # x_clip
    features_D: NDArray[np.float32]  # x_clip + x_as
    heads: HeadsOutput  # one row


class FrameStream(Protocol):
    """One camera's sampled frames on a device that preprocesses and selects windows itself (pixel motion)."""

    def push(self, frame: NDArray[np.uint8] | Nv12Frame) -> WatchedFrame | JudgedFrame | None:
        """Take a frame, [H, W, 3] BGR or NV12; give the one that it completes: for centered motion the one before."""

    def flush(self) -> WatchedFrame | JudgedFrame | None:
        """The stream has ended: the frame that was held back."""

    def locate(self) -> Encoded:
        """All windows of the frame that was given last, [1, 49, D] and [1, 16, D]."""


class Backend(Closing):
    """A bundle's graphs, open on one device."""

    description: str  # for people: engine, device and file

    @abstractmethod
    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """Embed preprocessed frames [B, 3, S, S] and chosen windows of each: indices [B, K] and [B, L]."""

    @abstractmethod
    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """Run the heads graph on its inputs by name, N rows at once: see `bundle.METHOD_TRAITS`."""

    def open_stream(self, *, lookahead: int) -> FrameStream | None:
        """The device's own watch step for one camera; None where frames are preprocessed on the CPU.

        Args:
            lookahead: later frames that the adapter uses.

        Raises:
            EnvironmentFailure: the device refuses.
        """
        return None
