"""Row i of A x (eq. 4) for a stream: the adapter's kernel over the last sampled frames.

A = softmax(-|i - j| / sigma) does not depend on the data, so with the same frames in sight a stream gives exactly the
offline row. Frames whose weight is under 1e-6 of the middle one's are left out.

Suffixes: W frames in the buffer, D width of what is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SMALLEST_WEIGHT = 1e-6  # relative to the middle frame's; design, section 3


def kernel_reach(sigma: float) -> int:
    """Farthest frame that counts: exp(-reach / sigma) >= 1e-6."""
    return math.floor(-sigma * math.log(SMALLEST_WEIGHT))


def kernel_weights(sigma: float) -> NDArray[np.float64]:
    """exp(-distance / sigma) of every distance that counts, [reach + 1]."""
    return np.exp(-np.arange(kernel_reach(sigma) + 1) / sigma)


class StreamingKernel:
    """A ring buffer and one weight vector; the cost of a push and the memory do not grow.

    Args:
        width: D.
        sigma: in sampled frames.
        lookahead: how many later frames a row may use; results come that many pushes late. None for all that count.
    """

    def __init__(self, width: int, sigma: float, lookahead: int | None = 0) -> None:
        self.reach = kernel_reach(sigma)
        self.lookahead = self.reach if lookahead is None else min(lookahead, self.reach)
        self._weights = kernel_weights(sigma)  # by distance
        self._ring_WD = np.zeros((self.reach + 1 + self.lookahead, width), np.float32)
        self._pushed = 0

    def push(self, x_D: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Take frame i; give row i - lookahead of A x as [D] float32, or None while there is none."""
        self._ring_WD[self._pushed % len(self._ring_WD)] = x_D
        self._pushed += 1
        target = self._pushed - 1 - self.lookahead
        return self._row(target) if target >= 0 else None

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """The stream has ended: the rows that were held back, with what there is of later frames."""
        for target in range(max(self._pushed - self.lookahead, 0), self._pushed):
            yield self._row(target)

    def _row(self, target: int) -> NDArray[np.float32]:
        first, last = max(target - self.reach, 0), min(target + self.lookahead, self._pushed - 1)
        frames = np.arange(first, last + 1)
        weights = self._weights[np.abs(frames - target)]
        row: NDArray[np.float64] = weights @ self._ring_WD[frames % len(self._ring_WD)] / weights.sum()
        return row.astype(np.float32)
