"""Many tracks, one backend: the requests of a batch go through the encoder together.

This is the only place that asks a backend to encode.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.track import EncodeRequest, FrameEmbeddings

_Value = TypeVar("_Value", np.float32, np.int64)


class Batcher:
    """Answers requests in one call of the encoder where they have the same numbers of windows, in one each otherwise.

    Args:
        backend: open; shared by all tracks.
        largest: most frames in one call; None for any number. An engine takes what it was built for.
    """

    def __init__(self, backend: Backend, largest: int | None = None) -> None:
        self._backend = backend
        self._largest = largest

    def encode(self, requests: Sequence[EncodeRequest]) -> list[FrameEmbeddings]:
        """The answers, in the order of the requests; of tracks or of one track, it does not matter.

        Raises:
            EnvironmentFailure: the device refuses.
        """
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for position, request in enumerate(requests):
            alike[len(request.fine), len(request.coarse)].append(position)
        answers: dict[int, FrameEmbeddings] = {}
        for positions in alike.values():
            size = self._largest or len(positions)
            for first in range(0, len(positions), size):
                part = positions[first : first + size]
                answers.update(zip(part, self._encode([requests[position] for position in part]), strict=True))
        return [answers[position] for position in range(len(requests))]

    def _encode(self, requests: Sequence[EncodeRequest]) -> list[FrameEmbeddings]:
        """Of requests with as many windows each."""
        image = _stacked([request.image for request in requests])  # [B, 3, S, S]
        fine = _stacked([request.fine for request in requests])  # [B, K]
        coarse = _stacked([request.coarse for request in requests])  # [B, L]
        encoded = self._backend.encode(image, fine, coarse)
        return [
            FrameEmbeddings(frame_D=encoded.frame[b], fine_KD=encoded.fine[b], coarse_LD=encoded.coarse[b])
            for b in range(len(requests))
        ]


def _stacked(parts: Sequence[NDArray[_Value]]) -> NDArray[_Value]:
    """Along a new first axis; a view where there is one part."""
    return parts[0][None] if len(parts) == 1 else np.stack(parts)
