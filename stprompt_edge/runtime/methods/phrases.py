"""Eq. 11: embeddings against the phrases of the vocabulary, and the heat map that they make.

Suffixes: N embeddings, P phrases, D width of the embedding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle, TextEmbeddings
from stprompt_edge.runtime.motion import softmax


def unit_length(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the last axis to length 1; zero vectors stay zero."""
    scaled: NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1e-12))
    return scaled


def phrase_probabilities(
    embeddings_ND: NDArray[np.float32], text: TextEmbeddings, tau: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Softmax over all phrases of the cosine with each, at temperature tau (eq. 11).

    Args:
        embeddings_ND: [N, D] float32, any length.
        text: unit-length phrases.
        tau: temperature.

    Returns:
        [N, normal phrases] and [N, abnormal phrases]; together each row sums to 1.
    """
    phrases_PD = np.concatenate([text.normal_phrases, text.abnormal_phrases])
    probabilities = softmax(unit_length(embeddings_ND) @ phrases_PD.T / np.float32(tau))
    return probabilities[:, : len(text.normal_phrases)], probabilities[:, len(text.normal_phrases) :]


class PhraseLocalizer:
    """The abnormal probability of each window, fine and coarse maps averaged.

    Args:
        bundle: its geometry, phrases, temperature and lambda.
    """

    uses_coarse = True

    def __init__(self, bundle: Bundle) -> None:
        self._geometry = bundle.geometry
        self._text = bundle.text
        self._settings = bundle.manifest.localization

    def __call__(self, fine_ND: NDArray[np.float32], coarse_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Localizer`."""
        fine, coarse = (self.abnormal(windows_ND) for windows_ND in (fine_ND, coarse_ND))
        return self._geometry.heat_map(fine, coarse, self._settings.fine_weight)

    def abnormal(self, windows_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, D] -> [N], the probability of all abnormal phrases together."""
        abnormal_N: NDArray[np.float32] = phrase_probabilities(windows_ND, self._text, self._settings.tau)[1].sum(
            axis=1
        )
        return abnormal_N
