"""What a method is at the edge: a scorer and a localizer, around the same encoder and the same kernel.

A scorer has two steps with the adapter's kernel between them: `features` makes the vector of one sampled frame that is
smoothed over time, `score` turns the smoothed vector into a score and class probabilities.

Suffixes: K selected windows (all of them for mil-ranking), N windows, D width of the embedding, C abnormal classes,
G tokens on one side of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.backends.base import HeadsOutput


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a method says of one sampled frame."""

    score: float  # 0..1
    class_probabilities: NDArray[np.float32]  # [1+C], row 0 is `normal`


class Heads(Protocol):
    """The bundle's heads graph as a function; see `Backend.heads`."""

    def __call__(self, **inputs: NDArray[np.float32]) -> HeadsOutput: ...


class Scorer(Protocol):
    """How a method judges a sampled frame."""

    width: int  # length of the vector that `features` gives

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Embeddings of the frame and its selected windows -> the vector to smooth."""

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """Row of A times those vectors, and the frame's own embedding -> score."""


class Localizer(Protocol):
    """How a method tells where in a frame the anomaly is."""

    uses_coarse: bool  # otherwise coarse windows need not be encoded

    def __call__(self, fine_ND: NDArray[np.float32], coarse_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of all windows of one frame, in order -> heat map.

        Args:
            fine_ND: [49, D] of the fine windows.
            coarse_ND: [16, D] of the coarse windows; [0, D] where they are not used.

        Returns:
            [G, G] float32, 0..1, on the token grid.
        """


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method's own part of the step."""

    scorer: Scorer
    localizer: Localizer


def sigmoid(logit: float) -> float:
    """0..1, of any number."""
    return 1 / (1 + math.exp(-min(max(logit, -80.0), 80.0)))
