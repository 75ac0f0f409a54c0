"""No training: eq. 11 over the frame and its selected windows, smoothed by the adapter's kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.runtime.methods.base import Heads, Method, Score
from stprompt_edge.runtime.methods.phrases import PhraseLocalizer, phrase_probabilities


class ZeroShotScorer:
    """Scores from class names and phrases alone; uncalibrated."""

    def __init__(self, bundle: Bundle) -> None:
        self.width = len(bundle.vocabulary.class_names)
        self._text = bundle.text
        self._settings = bundle.manifest.localization
        self._phrase_rows = np.asarray(bundle.vocabulary.abnormal_phrase_classes)

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Class probabilities [1+C]: the frame's and the attention-weighted mean of the windows', half and half."""
        frame, *windows = self._class_probabilities(np.concatenate([x_clip_D[None], selected_KD]))
        both: NDArray[np.float32] = np.float32(0.5) * (frame + attention_K @ np.stack(windows))
        return both

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """Sum over the abnormal classes."""
        return Score(score=max(1 - float(context[0]), 0.0), class_probabilities=context)  # rounding: 1 may be 1.0000001

    def _class_probabilities(self, embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Phrase probabilities summed class by class: [N, D] -> [N, 1+C]."""
        normal, abnormal = phrase_probabilities(embeddings_ND, self._text, self._settings.tau)
        classes = np.zeros((len(embeddings_ND), self.width), np.float32)
        classes[:, 0] = normal.sum(axis=1)
        np.add.at(classes.T, self._phrase_rows, abnormal.T)
        return classes


def open_zero_shot(bundle: Bundle, heads: Heads) -> Method:
    """Scorer and localizer of a bundle of this method, which has no heads."""
    return Method(scorer=ZeroShotScorer(bundle), localizer=PhraseLocalizer(bundle))
