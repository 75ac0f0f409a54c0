"""A backend without a network, for tests of everything around it: embeddings are fixed projections of pixel means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.runtime.backends.base import Backend, Encoded, HeadsOutput


class FakeBackend(Backend):
    """Deterministic stand-in: an embedding is a seeded linear map of the mean colour of the frame or window."""

    def __init__(self, bundle: Bundle) -> None:
        width = bundle.manifest.clip.embedding_width
        self._geometry = bundle.geometry
        self._projection_3D = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
        self._label_prompts = bundle.text.label_prompts
        self.description = "fake"
        self.encoded: list[tuple[int, int]] = []  # K and L of each call

    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`."""
        self.encoded.append((fine.shape[1], coarse.shape[1]))
        geometry = self._geometry
        fine_means = self._means(image, geometry.windows_xyxy(geometry.fine), fine)
        coarse_means = self._means(image, geometry.windows_xyxy(geometry.coarse), coarse)
        return Encoded(
            frame=image.mean(axis=(2, 3)) @ self._projection_3D,
            fine=fine_means @ self._projection_3D,
            coarse=coarse_means @ self._projection_3D,
        )

    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`; the logit is the mean of the context, or the largest mean of a window's embedding."""
        if "windows" in inputs:
            window_logits = inputs["windows"].mean(axis=-1)
            return HeadsOutput(anomaly_logit=window_logits.max(axis=-1), window_logits=window_logits)
        x = inputs["context"] + inputs["clip"]
        unit = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
        return HeadsOutput(anomaly_logit=inputs["context"].mean(axis=-1), similarity=unit @ self._label_prompts.T)

    def close(self) -> None:
        """Nothing to free."""

    @staticmethod
    def _means(
        image: NDArray[np.float32], windows_xyxy: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        means = np.zeros((*indices.shape, 3), np.float32)
        for b, row in enumerate(indices):
            for k, window in enumerate(row):
                x0, y0, x1, y1 = windows_xyxy[window]
                means[b, k] = image[b, :, y0:y1, x0:x1].mean(axis=(1, 2))
        return means
