"""From the embeddings of a sampled frame to its score; one scorer for each method.

A scorer has two steps with the adapter's kernel between them: `features` makes the vector of one sampled frame that is
smoothed over time, `score` turns the smoothed vector into a score and class probabilities.

Suffixes: K selected windows (all of them for mil-ranking), D width of the embedding, C abnormal classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle, MethodSection
from stprompt_edge.runtime.backends.base import Backend, HeadsOutput
from stprompt_edge.runtime.localize import phrase_probabilities, unit_length
from stprompt_edge.runtime.motion import aggregate, softmax


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a method says of one sampled frame."""

    score: float  # 0..1
    class_probabilities: NDArray[np.float32]  # [1+C], row 0 is `normal`


class Scorer(Protocol):
    """A method's own part of the step."""

    width: int  # length of the vector that `features` gives

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Embeddings of the frame and its selected windows -> the vector to smooth."""

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """Row of A times those vectors, and the frame's own embedding -> score."""


class STPromptScorer:
    """Eq. 3-5: x_clip + x_as through the kernel, then the heads."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.width = bundle.manifest.clip.embedding_width
        self._method = bundle.manifest.method
        self._backend = backend

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """x_clip + x_as, [D]."""
        return x_clip_D + aggregate(selected_KD, attention_K)

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """1 - softmax(M / tau)[normal], or the classifier's probability, or their mean, as the bundle says."""
        return score_of_heads(self._backend.heads(context=context[None], clip=x_clip_D[None]), self._method)


def score_of_heads(heads: HeadsOutput, method: MethodSection) -> Score:
    """Of one row of the stprompt heads."""
    assert heads.similarity is not None
    probabilities = softmax(heads.similarity[0] / np.float32(method.tau))
    from_alignment = 1 - float(probabilities[0])
    from_classifier = sigmoid(float(heads.anomaly_logit[0]))
    score = {"a": from_alignment, "c": from_classifier, "mean": (from_alignment + from_classifier) / 2}
    return Score(score=score[method.score], class_probabilities=probabilities)


class ZeroShotScorer:
    """No training: eq. 11 over the frame and its selected windows, smoothed by the adapter's kernel."""

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
        return np.float32(0.5) * (frame + attention_K @ np.stack(windows))

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


class MilRankingScorer:
    """The ranking method: the heads judge all windows of a frame, the kernel smooths the frame's anomaly logit.

    What it has learned is normal or abnormal, no more. So its probability is shared out among the abnormal classes as
    CLIP finds the frame closest to their names: a class that it names is a zero-shot guess.
    """

    width = 1

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._label_prompts = bundle.text.label_prompts[1:]
        self._tau = np.float32(bundle.manifest.localization.tau)  # CLIP's own
        self._backend = backend

    def features(
        self, x_clip_D: NDArray[np.float32], selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The frame's anomaly logit, [1]; the order of the windows does not matter, their motion is not used."""
        return self._backend.heads(windows=selected_KD[None]).anomaly_logit

    def score(self, context: NDArray[np.float32], x_clip_D: NDArray[np.float32]) -> Score:
        """Sigmoid of the smoothed logit."""
        score = sigmoid(float(context[0]))
        shares = softmax(self._label_prompts @ unit_length(x_clip_D) / self._tau)
        probabilities = np.concatenate([[1 - score], score * shares]).astype(np.float32)
        return Score(score=score, class_probabilities=probabilities)


def make_scorer(bundle: Bundle, backend: Backend) -> Scorer:
    """The scorer of the bundle's method."""
    if bundle.manifest.method.name == "zero-shot":
        return ZeroShotScorer(bundle)
    if bundle.manifest.method.name == "mil-ranking":
        return MilRankingScorer(bundle, backend)
    return STPromptScorer(bundle, backend)


def sigmoid(logit: float) -> float:
    """0..1, of any number."""
    return 1 / (1 + math.exp(-min(max(logit, -80.0), 80.0)))
