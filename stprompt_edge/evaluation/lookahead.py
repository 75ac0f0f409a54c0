"""Scores at other lookaheads without encoding again: the kernel and the scorer run over what a track gave.

Only the adapter's kernel knows of lookahead, so the vectors that go into it are the same for all.

Letters: T sampled frames, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.methods.base import Scorer
from stprompt_edge.runtime.temporal import StreamingKernel, kernel_reach
from stprompt_edge.runtime.track import TrackedFrame

LOOKAHEADS = (0, 1, 2, 3, 4, 6, 8, 12, 24)


def lookaheads(sigma: float) -> tuple[int | None, ...]:
    """Those that differ at this width of the kernel, and all later frames at the end."""
    return (*(lookahead for lookahead in LOOKAHEADS if lookahead < kernel_reach(sigma)), None)


class Recorder:
    """Keeps the embedding of each sampled frame, and the vector that was smoothed."""

    def __init__(self) -> None:
        self._x_clip: list[NDArray[np.float32]] = []
        self._features: list[NDArray[np.float32]] = []

    def add(self, tracked: TrackedFrame) -> None:
        """The next sampled frame."""
        self._x_clip.append(tracked.embedded.x_clip_D)
        self._features.append(tracked.features)

    def scores(self, scorer: Scorer, sigma: float, lookahead: int | None) -> NDArray[np.float64]:
        """[T] what a `Track` with this lookahead gives for the recorded stream."""
        contexts = smoothed(self._features, scorer.width, sigma, lookahead)
        return np.array(
            [scorer.score(context, x_clip).score for context, x_clip in zip(contexts, self._x_clip, strict=True)],
            np.float64,
        )


def smoothed(
    rows: Iterable[NDArray[np.float32]], width: int, sigma: float, lookahead: int | None = None
) -> list[NDArray[np.float32]]:
    """T rows [D] through the runtime's kernel: T rows of A x [D], each with `lookahead` later ones, None for all."""
    kernel = StreamingKernel(width, sigma, lookahead)
    contexts = [context for row in rows if (context := kernel.push(row)) is not None]
    return [*contexts, *kernel.flush()]


def known_seconds(seconds: NDArray[np.float64], late: int) -> NDArray[np.float64]:
    """When a score that waits for `late` later sampled frames is known; behind the end at the usual spacing.

    Args:
        seconds: [T] times of the sampled frames.
        late: later sampled frames.

    Returns:
        [T] seconds.
    """
    if not late or not len(seconds):
        return seconds
    spacing = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    following = seconds[-1] + spacing * np.arange(1, late + 1)
    return np.concatenate([seconds, following])[late:]
