"""Where in a frame the anomaly is: window scores (eq. 11, or the ranking method's own), heat map, boxes.

Suffixes: N windows, P phrases, D width of the embedding, G tokens on one side of the image.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle, LocalizationSection, TextEmbeddings
from stprompt_edge.geometry import Geometry
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.motion import softmax
from stprompt_edge.runtime.records import Box, Localization

_MAX_SIDE = 640  # boxes are found on a map of at most this many pixels a side, then scaled: heat is 14 x 14 anyway


def unit_length(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the last axis to length 1; zero vectors stay zero."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1e-12))


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


class FrameLocalizer(Protocol):
    """Window embeddings of one frame -> heat map and boxes."""

    uses_coarse: bool  # otherwise coarse windows need not be encoded

    def __call__(
        self, fine_ND: NDArray[np.float32], coarse_ND: NDArray[np.float32], size_wh: tuple[int, int]
    ) -> Localization:
        """Localize in one frame; see `Localizer`."""


class Localizer:
    """Eq. 11: window embeddings of one frame -> heat map and boxes.

    Args:
        geometry: of the bundle.
        text: phrases of the bundle.
        settings: temperature, lambda and the heat threshold of the bundle.
    """

    uses_coarse = True

    def __init__(self, geometry: Geometry, text: TextEmbeddings, settings: LocalizationSection) -> None:
        self._geometry = geometry
        self._text = text
        self._settings = settings

    def __call__(
        self, fine_ND: NDArray[np.float32], coarse_ND: NDArray[np.float32], size_wh: tuple[int, int]
    ) -> Localization:
        """Localize in one frame.

        Args:
            fine_ND: [49, D] embeddings of all fine windows, in order.
            coarse_ND: [16, D] of all coarse windows.
            size_wh: width and height of the camera frame in pixels.
        """
        fine, coarse = (
            phrase_probabilities(windows, self._text, self._settings.tau)[1].sum(axis=1)
            for windows in (fine_ND, coarse_ND)
        )
        heat = self._geometry.heat_map(fine, coarse, self._settings.fine_weight)
        return Localization(heat_map=heat, boxes=find_boxes(heat, size_wh, self._settings.threshold))


class LearnedLocalizer:
    """The ranking method's own heat map: the probability that its heads give each fine window.

    Args:
        bundle: of the method mil-ranking.
        backend: its graphs, open.
    """

    uses_coarse = False

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._geometry = bundle.geometry
        self._threshold = bundle.manifest.localization.threshold
        self._backend = backend

    def __call__(
        self, fine_ND: NDArray[np.float32], coarse_ND: NDArray[np.float32], size_wh: tuple[int, int]
    ) -> Localization:
        """See `Localizer`; the coarse windows are not looked at."""
        logits_N = self._backend.heads(windows=fine_ND[None]).window_logits
        assert logits_N is not None
        heat = self._geometry.spread(self._geometry.fine, 1 / (1 + np.exp(-logits_N[0].clip(-80, 80))))
        return Localization(heat_map=heat, boxes=find_boxes(heat, size_wh, self._threshold))


def make_localizer(bundle: Bundle, backend: Backend) -> FrameLocalizer:
    """The localizer of the bundle's method."""
    if bundle.manifest.method.name == "mil-ranking":
        return LearnedLocalizer(bundle, backend)
    return Localizer(bundle.geometry, bundle.text, bundle.manifest.localization)


def find_boxes(heat_GG: NDArray[np.float32], size_wh: tuple[int, int], threshold: float) -> tuple[Box, ...]:
    """Boxes around the connected regions whose heat is above the threshold, hottest first.

    Args:
        heat_GG: [G, G] float32, 0..1; resized bilinearly to the frame.
        size_wh: width and height of the frame in pixels.
        threshold: heat.
    """
    width, height = size_wh
    scale = min(1.0, _MAX_SIDE / max(width, height))
    map_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    heat: Any = cv2.resize(heat_GG, map_wh, interpolation=cv2.INTER_LINEAR)
    hot = (heat > threshold).astype(np.uint8)
    contours, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = [_box(heat, tuple(cv2.boundingRect(contour)), map_wh, size_wh) for contour in contours]
    return tuple(sorted(boxes, key=lambda box: -box.probability))


def _box(
    heat: NDArray[np.float32], rectangle: tuple[int, ...], map_wh: tuple[int, int], size_wh: tuple[int, int]
) -> Box:
    x, y, w, h = rectangle
    scale_x, scale_y = size_wh[0] / map_wh[0], size_wh[1] / map_wh[1]
    return Box(
        x0=int(x * scale_x),
        y0=int(y * scale_y),
        x1=min(round((x + w) * scale_x), size_wh[0]),
        y1=min(round((y + h) * scale_y), size_wh[1]),
        probability=float(heat[y : y + h, x : x + w].max()),
    )
