"""A checkpoint as the runtime sees a bundle: torch behind a backend, and the manifest that export would write.

So the detector that ships scores it, offline, and nothing of preprocessing, motion or aggregation is written twice.
With features at hand, the trained part alone scores them.

Letters: T sampled frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stprompt_edge.bundle import Bundle, MethodSection
from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.evaluation.lookahead import smoothed
from stprompt_edge.evaluation.records import EvaluationSettings, ScoredVideo
from stprompt_edge.evaluation.scoring import OpenModel, Outcome, anomalies, frame_labels, outcome_of, rows_of
from stprompt_edge.export.exporting import Model, describe, embed_vocabulary
from stprompt_edge.features.extraction import feature_path
from stprompt_edge.features.files import extract_again, load_features, read_header, read_windows
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.checkpoint import load_checkpoint
from stprompt_edge.model.clip import load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.model.net import Net
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.backends.base import Backend, Encoded, HeadsOutput
from stprompt_edge.runtime.sources import ASSUMED_FPS, open_source

_ROWS = 256  # sampled frames that the heads judge at once: of mil-ranking, 49 windows each, some 100 MB


class CheckpointBackend(Backend):
    """The packed encoder and a trained model's heads, fp32, behind the interface of the edge's backends.

    Args:
        encoder: of frames and windows.
        model: trained, in eval mode.
        label_prompts: [1+C, D], for heads that align with them.
    """

    def __init__(self, encoder: PackedEncoder, model: Net, label_prompts: NDArray[np.float32]) -> None:
        self._encoder = encoder
        self._heads = model.heads_with(torch.from_numpy(label_prompts))
        self.description = f"PyTorch {torch.__version__.partition('+')[0]} CPU, fp32"

    @torch.inference_mode()
    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`."""
        found = self._encoder(torch.from_numpy(image), torch.from_numpy(fine), torch.from_numpy(coarse))
        return Encoded(frame=found.frame.numpy(), fine=found.fine.numpy(), coarse=found.coarse.numpy())

    @torch.inference_mode()
    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`."""
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        found: Any = self._heads(**tensors)  # a named tuple
        return HeadsOutput(**{name: value.numpy() for name, value in found._asdict().items()})

    def close(self) -> None:
        """Nothing to free."""


def open_checkpoint(path: Path, settings: EvaluationSettings, threads: int | None) -> OpenModel:
    """Load a checkpoint and the CLIP that it was trained on.

    Raises:
        As `load_checkpoint`, `load_clip` and `Checkpoint.build`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = load_checkpoint(path)
    clip = load_clip(checkpoint.clip.model, settings.pretrained or checkpoint.clip.pretrained, checkpoint.clip.seed)
    model, geometry = Model.from_checkpoint(clip, checkpoint), Geometry()
    text = embed_vocabulary(model)
    bundle = Bundle(
        path=path,
        manifest=describe(model, geometry),
        preprocessing=clip.preprocessing,
        geometry=geometry,
        vocabulary=checkpoint.vocabulary,
        text=text,
    )
    assert model.trained is not None  # it is a checkpoint's
    encoder = PackedEncoder(clip.model.visual, geometry).eval()
    return OpenModel(bundle=bundle, backend=CheckpointBackend(encoder, model.trained, text.label_prompts))


def score_features(
    model: OpenModel, videos: Sequence[LabelledVideo], settings: EvaluationSettings, progress: StepProgress
) -> Iterator[tuple[LabelledVideo, Outcome]]:
    """Every video with the scores of its features, or with the reason why it has none.

    Raises:
        UsageError: features of another encoder or stride than the checkpoint's, or without what its method needs.
    """
    assert settings.features is not None
    stride = settings.stride or model.bundle.manifest.method.stride
    for done, video in enumerate(videos, 1):
        path = feature_path(settings.features, video)
        yield video, _feature_outcome(video, path, model, FeatureOrigin.of(model.bundle, stride))
        progress(video.name, done / len(videos))


def _feature_outcome(video: LabelledVideo, path: Path, model: OpenModel, wanted: FeatureOrigin) -> Outcome:
    if not path.is_file():
        return f"no features: {path} is missing"
    header = outcome_of(lambda: read_header(path))
    if isinstance(header, str):
        return header
    method, all_windows = model.bundle.manifest.method, model.bundle.traits.all_windows
    _check_origin(path, header.origin, wanted, aggregated=not all_windows)
    width = model.bundle.manifest.clip.embedding_width
    if header.width != width:
        return f"{path} has embeddings of width {header.width}, the checkpoint's encoder gives {width}"
    if all_windows and not header.has_windows:
        raise UsageError(
            f"{path} holds no windows, and {method.name} judges all of them",
            remedy="extract into the same folder again with --keep windows",
        )

    def score() -> ScoredVideo:
        features = load_features(path, windows=False)
        return _judged(video, features, feature_scores(path, features, model))

    return outcome_of(score)


def feature_scores(path: Path, features: VideoFeatures, model: OpenModel) -> NDArray[np.float64]:
    """[T] offline scores of a whole video by the trained model, its heads on some rows at a time.

    Args:
        path: of the feature file; windows are read from it as they are judged.
        features: what else it holds.
        model: the checkpoint, open.

    Raises:
        UsageError: a score is not finite, or the file is damaged.
    """
    method, backend = model.bundle.manifest.method, model.backend
    if model.bundle.traits.all_windows:
        windows = read_windows(path, _ROWS)
        logits = [backend.heads(windows=block.astype(np.float32)).anomaly_logit for block in windows]
        scores = torch.sigmoid(torch.from_numpy(np.array(smoothed(np.concatenate(logits)[:, None], 1, method.sigma))))
    else:
        rows = features.x_clip + features.x_as
        context = np.array(smoothed(rows, rows.shape[1], method.sigma), np.float32)
        blocks = [slice(first, first + _ROWS) for first in range(0, len(rows), _ROWS)]
        found = [backend.heads(context=context[block], clip=features.x_clip[block]) for block in blocks]
        scores = torch.cat([_aligned_scores(heads, method) for heads in found])
    values = scores.double().numpy().reshape(-1)
    if not np.isfinite(values).all():
        raise UsageError(f"the features in {path} give scores that are not finite", remedy=extract_again(path))
    return values


def _aligned_scores(heads: HeadsOutput, method: MethodSection) -> Tensor:
    logit, similarity = torch.from_numpy(heads.anomaly_logit), torch.from_numpy(heads.similarity)
    return anomaly_score(logit, similarity, method.tau, method.score)


def _check_origin(path: Path, found: FeatureOrigin, wanted: FeatureOrigin, *, aggregated: bool) -> None:
    names = ["clip", "stride", *(["weights_sha256"] if found.weights_sha256 else [])]
    if aggregated:  # which windows went into x_as
        names += ["windows", "motion_timing"]
    for name in names:
        if getattr(found, name) != getattr(wanted, name):
            weights = f", weights {found.pretrained} and {wanted.pretrained}" if name == "weights_sha256" else ""
            raise UsageError(
                f"{path} was extracted with {name} {getattr(found, name)}, expected {getattr(wanted, name)}{weights}",
                remedy="extract again with what the checkpoint was trained with, or leave out --features",
            )


def _judged(video: LabelledVideo, features: VideoFeatures, scores: NDArray[np.float64]) -> ScoredVideo:
    """Feature files do not know how many frames their video has: its header does, unless it is wrong or gone."""
    stride = features.origin.stride
    read = np.arange(len(scores)) * stride if features.frames is None else features.frames
    fps, frames = _rate_and_frames(video)
    if not fps:
        spacing = features.seconds_between_samples
        fps = stride / spacing if spacing > 0 else ASSUMED_FPS
    warnings: tuple[str, ...] = ()
    expected, least = math.ceil((frames or 0) / stride), int(read[-1]) // stride + 1
    if expected < least or (expected > least and features.frames is None):
        warnings = (f"its number of frames is not known exactly: {least * stride} are assumed",)
        frames = least * stride
    assert frames is not None
    clock = lambda frame: np.asarray(frame, np.float64) / fps  # noqa: E731
    sampled = np.arange(0, frames, stride)
    return ScoredVideo(
        name=video.name,
        label=video.label,
        stride=stride,
        fps=fps,
        frame_count=frames,
        seconds=clock(sampled),
        duration_seconds=frames / fps,
        scores={None: scores[rows_of(sampled, read)]},
        labels=frame_labels(video, frames),
        anomalies=anomalies(video, frames, clock),
        warnings=warnings,
    )


def _rate_and_frames(video: LabelledVideo) -> tuple[float, int | None]:
    try:
        with open_source(str(video.path)) as source:
            return source.info.known_fps, source.info.frame_count
    except SourceError:
        return 0.0, None
