"""The ranking method at the edge: its heads judge all windows of a frame, for the score and for where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.runtime.methods.base import Heads, Method, Score, sigmoid
from stprompt_edge.runtime.methods.phrases import unit_length
from stprompt_edge.runtime.motion import softmax


class MilRankingScorer:
    """The kernel smooths the frame's anomaly logit.

    What it has learned is normal or abnormal, no more. So its probability is shared out among the abnormal classes as
    CLIP finds the frame closest to their names: a class that it names is a zero-shot guess.
    """

    width = 1

    def __init__(self, bundle: Bundle, heads: Heads) -> None:
        self._label_prompts = bundle.text.label_prompts[1:]
        self._tau = np.float32(bundle.manifest.localization.tau)  # CLIP's own
        self._heads = heads

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The frame's anomaly logit, [1]; the order of the windows does not matter, their motion is not used."""
        return self._heads(windows=selected_KD[None]).anomaly_logit

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """Sigmoid of the smoothed logit."""
        score = sigmoid(float(context[0]))
        shares = softmax(self._label_prompts @ unit_length(x_clip_D) / self._tau)
        probabilities = np.concatenate([[1 - score], score * shares]).astype(np.float32)
        return Score(score=score, class_probabilities=probabilities)


class LearnedLocalizer:
    """The probability that the heads give each fine window; the coarse windows are not looked at."""

    uses_coarse = False

    def __init__(self, bundle: Bundle, heads: Heads) -> None:
        self._geometry = bundle.geometry
        self._heads = heads

    def __call__(self, fine_ND: NDArray[np.float32], coarse_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Localizer`."""
        logits_N = self._heads(windows=fine_ND[None]).window_logits
        assert logits_N is not None
        return self._geometry.spread(self._geometry.fine, 1 / (1 + np.exp(-logits_N[0].clip(-80, 80))))


def open_mil_ranking(bundle: Bundle, heads: Heads) -> Method:
    """Scorer and localizer of a bundle of this method."""
    return Method(scorer=MilRankingScorer(bundle, heads), localizer=LearnedLocalizer(bundle, heads))
