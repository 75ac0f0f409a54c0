"""Where an anomaly is, against pixel masks: heat of phrases (eq. 11) or of the ranking method, and TIoU.

Suffixes: T sampled frames, N fine windows (49), G tokens on one side of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.featured import Encoder, FeaturedDataset, FeaturedVideo
from stprompt_edge.bundle import Bundle, TextEmbeddings, load_bundle
from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.evaluation.metrics import tiou
from stprompt_edge.evaluation.truth import AnnotatedFrames, Area
from stprompt_edge.export.exporting import Model, embed_vocabulary
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.methods.phrases import phrase_probabilities
from stprompt_edge.runtime.records import Localization
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.track import EncodeRequest

THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())

Heats = Mapping[int, NDArray[np.float32]]  # by row of the sampled frame: [G, G]


def annotated_areas(video: FeaturedVideo) -> dict[int, Area]:
    """What is abnormal in the annotated sampled frames, by row; data sets with masks only."""
    annotated = AnnotatedFrames(video.video, video.stride)
    found = {frame // video.stride: annotated.area(frame, (0, 0)) for frame in annotated.first_of}
    return {row: area for row, area in found.items() if area is not None}


def ranking_heats(probabilities_TN: NDArray[np.float32], geometry: Geometry) -> Heats:
    """The ranking method's heat map of every sampled frame."""
    return {row: geometry.spread(geometry.fine, windows) for row, windows in enumerate(probabilities_TN)}


def phrase_heats(data: FeaturedDataset, encoder: Encoder, cache: Path) -> dict[str, Heats]:
    """Eq. 11 of the annotated sampled frames of each video that has any; training has no part in it.

    Args:
        data: videos and phrases.
        encoder: encodes fine and coarse windows of those frames, and the phrases.
        cache: an .npz file, made on the first call.
    """
    videos = [video for video in data.videos.values() if video.video.masks is not None]
    if not cache.exists():
        bundle = load_bundle(encoder.bundle)
        stride = bundle.manifest.method.stride
        text = embed_vocabulary(Model.zero_shot(encoder.clip(), data.vocabulary, stride))
        arrays: dict[str, NDArray[np.float32]] = {}
        with open_backend("onnx", bundle).backend as backend:
            for video in videos:
                rows = sorted(annotated_areas(video))
                heats = heats_of(video.video, {row * video.stride: row for row in rows}, bundle, text, backend)
                arrays |= {f"{video.name} {row}": heat for row, heat in heats.items()}
        _save(cache, arrays)
    with np.load(cache) as stored:
        every = {name: stored[name] for name in stored.files}
    return {
        video.name: {
            int(name.rpartition(" ")[2]): heat for name, heat in every.items() if name.rpartition(" ")[0] == video.name
        }
        for video in videos
    }


def heats_of(
    video: LabelledVideo, rows: Mapping[int, int], bundle: Bundle, text: TextEmbeddings, backend: Backend
) -> dict[int, NDArray[np.float32]]:
    """Heat maps of the camera frames in `rows`, by the row that each has there."""
    preprocess, geometry, settings = Preprocessor(bundle.preprocessing), bundle.geometry, bundle.manifest.localization
    batcher, found = Batcher(backend), {}
    with open_source(str(video.path)) as source:
        for frame in source.frames(lambda index: index in rows):
            (encoded,) = batcher.encode([EncodeRequest.of_all(preprocess(frame.image_bgr).image, geometry)])
            abnormal = [
                phrase_probabilities(windows, text, settings.tau)[1].sum(axis=1)
                for windows in (encoded.fine_KD, encoded.coarse_LD)
            ]
            found[rows[frame.index]] = geometry.heat_map(*abnormal, settings.fine_weight)
    return found


def tiou_by_threshold(
    videos: Sequence[FeaturedVideo],
    scores: Sequence[NDArray[np.float64]],
    heats: Callable[[int], Heats],
    areas: Mapping[str, Mapping[int, Area]],
) -> dict[float, float]:
    """TIoU of the annotated videos at each heat threshold; `heats` gives those of the n-th video."""
    results = {}
    annotated = [(n, video) for n, video in enumerate(videos) if areas.get(video.name)]
    found = {n: {row: Localization(heat_map=heat, boxes=()) for row, heat in heats(n).items()} for n, _ in annotated}
    for threshold in THRESHOLDS:
        pairs = []
        for n, video in annotated:
            rows = areas[video.name]
            ious = [area.iou(found[n][row], threshold) for row, area in rows.items()]
            pairs.append((ious, scores[n][list(rows)]))
        results[threshold] = tiou(pairs)
    return results


def _save(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    import io

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, content.getvalue())
