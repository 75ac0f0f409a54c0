"""STPrompt at the edge: eq. 3-5 for scores, eq. 11 for where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle, MethodSection
from stprompt_edge.runtime.backends.base import HeadsOutput
from stprompt_edge.runtime.methods.base import Heads, Method, Score, sigmoid
from stprompt_edge.runtime.methods.phrases import PhraseLocalizer
from stprompt_edge.runtime.motion import aggregate, softmax


class STPromptScorer:
    """x_clip + x_as through the kernel, then the heads."""

    def __init__(self, bundle: Bundle, heads: Heads) -> None:
        self.width = bundle.manifest.clip.embedding_width
        self._method = bundle.manifest.method
        self._heads = heads

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """x_clip + x_as, [D]."""
        return x_clip_D + aggregate(selected_KD, attention_K)

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """1 - softmax(M / tau)[normal], or the classifier's probability, or their mean, as the bundle says."""
        return score_of_heads(self._heads(context=context[None], clip=x_clip_D[None]), self._method)


def score_of_heads(heads: HeadsOutput, method: MethodSection) -> Score:
    """Of one row of the heads."""
    assert heads.similarity is not None
    probabilities = softmax(heads.similarity[0] / np.float32(method.tau))
    from_alignment = 1 - float(probabilities[0])
    from_classifier = sigmoid(float(heads.anomaly_logit[0]))
    score = {"a": from_alignment, "c": from_classifier, "mean": (from_alignment + from_classifier) / 2}
    return Score(score=score[method.score], class_probabilities=probabilities)


def open_stprompt(bundle: Bundle, heads: Heads) -> Method:
    """Scorer and localizer of a bundle of this method."""
    return Method(scorer=STPromptScorer(bundle, heads), localizer=PhraseLocalizer(bundle))
