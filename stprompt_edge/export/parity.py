"""The parity gate: a precision is shipped only if its embeddings and scores on real frames are those of fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle, ParityFigures
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import LocalizeWhen, Observer
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.track import EncodeRequest, FrameEmbeddings

if TYPE_CHECKING:  # torch is imported where it is compared with: engines are built on devices that do not have it
    import torch

    from stprompt_edge.model.encoder import PackedEncoder
    from stprompt_edge.model.net import Net

MIN_COSINE = 0.999  # design, section 5
MAX_SCORE_DIFFERENCE = 0.01
MAX_TORCH_DIFFERENCE = 1e-4  # of fp32 ONNX from torch, largest absolute difference of an embedding or logit
HEADS_ROWS = (1, 2, 7)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one precision says of the parity frames."""

    embeddings: NDArray[np.float32]  # [N, D]: of each frame, its fine windows and, if the method has any, coarse
    scores: NDArray[np.float32]  # [frames]


def read_parity_frames(source: Path, count: int) -> list[CameraFrame]:
    """`count` frames spread over a video, or all of a shorter one; at most twice as many are in memory at a time.

    Raises:
        SourceError: if it cannot be read.
        UsageError: if all of its frames are equal, which would prove nothing.
    """
    kept: list[CameraFrame] = []
    with open_source(str(source)) as opened:
        step = max((opened.info.frame_count or 0) // count, 1)  # many containers do not tell: mkv, webm, ts
        wanted = opened.frames(lambda index: index % step == 0)
        for frame in wanted:
            kept.append(frame)
            if len(kept) == 2 * count:  # longer than was told
                kept, step = kept[::2], 2 * step
    frames = [kept[i * len(kept) // count] for i in range(count)] if len(kept) > count else kept
    if len({frame.image_bgr.tobytes() for frame in frames}) < min(2, count):
        raise UsageError(
            f"the parity video {source} has no two different frames", remedy="pass ordinary footage: --parity-video"
        )
    return frames


def trace(bundle: Bundle, precision: str, frames: Sequence[CameraFrame], each: Callable[[], None]) -> Trace:
    """Run the whole step over the frames with one precision, all windows encoded; `each` is called once a frame."""
    with OnnxBackend(bundle, precision=precision) as backend:
        return trace_backend(bundle, backend, frames, each, "always")


def trace_backend(
    bundle: Bundle, backend: Backend, frames: Sequence[CameraFrame], each: Callable[[], None], localize: LocalizeWhen
) -> Trace:
    """Run the whole step over the frames; `each` is called once a frame.

    Args:
        bundle: of the backend.
        backend: open.
        frames: in order.
        each: told that one is done.
        localize: `always` encodes all windows, `never` only those that the method scores.
    """
    recorder = _Recorder(backend, each)
    observer = Observer(bundle, backend, localize=localize, device_frames=False, batcher=recorder)
    found = [tracked for frame in frames for tracked in observer.push(frame)] + observer.flush()
    return Trace(
        embeddings=np.concatenate(recorder.embeddings),
        scores=np.array([tracked.detection.score for tracked in found], np.float32),
    )


class _Recorder(Batcher):
    """Keeps what the encoder says."""

    def __init__(self, backend: Backend, each: Callable[[], None]) -> None:
        super().__init__(backend)
        self._each = each
        self.embeddings: list[NDArray[np.float32]] = []  # [windows, D] each

    def encode(self, requests: Sequence[EncodeRequest]) -> list[FrameEmbeddings]:
        """See `Batcher.encode`."""
        found = super().encode(requests)
        for one in found:
            self.embeddings += [one.frame_D[None], one.fine_KD, one.coarse_LD]
            self._each()
        return found


def compare(candidate: Trace, reference: Trace, source: str) -> ParityFigures:
    """Smallest cosine of the embeddings and largest difference of the scores."""
    a, b = candidate.embeddings.astype(np.float64), reference.embeddings.astype(np.float64)
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    difference = float(np.nan_to_num(np.abs(candidate.scores - reference.scores), nan=1.0).max())  # scores are 0..1
    return ParityFigures(
        min_cosine=round(float(np.nan_to_num(cosines, nan=-1.0).min()), 7),
        max_score_difference=round(difference, 7),
        frames=len(reference.scores),
        source=source,
    )


def within_limits(figures: ParityFigures) -> bool:
    """The gate's condition; a NaN is outside."""
    return figures.min_cosine >= MIN_COSINE and figures.max_score_difference <= MAX_SCORE_DIFFERENCE


def check_parity(precision: str, figures: ParityFigures, *, force: bool) -> ParityFigures:
    """Pass the figures on, or refuse.

    Raises:
        CheckFailed: if a limit is missed, unless `force`.
    """
    missed = not within_limits(figures)
    if missed and not force:
        raise CheckFailed(
            f"{precision} missed parity with fp32 on {figures.frames} frames of {figures.source}: smallest cosine "
            f"{figures.min_cosine:.5f} (limit {MIN_COSINE}), largest score difference "
            f"{figures.max_score_difference:.4f} (limit {MAX_SCORE_DIFFERENCE})",
            remedy="export without it (--precision), or keep it all the same with --force; nothing was written",
        )
    return figures.model_copy(update={"accepted_by_force": missed})


def check_against_torch(bundle: Bundle, encoder: PackedEncoder, frames: Sequence[CameraFrame]) -> float:
    """Compare the fp32 graph with torch on real frames, at batch sizes 1 and 2, with and without windows.

    Returns:
        The largest absolute difference of any embedding.

    Raises:
        CheckFailed: if it is over 1e-4.
    """
    import torch

    preprocess = Preprocessor(bundle.preprocessing)
    images = np.stack([preprocess(frame.image_bgr).image for frame in frames[:2]])
    fine = np.random.default_rng(0).permutation(bundle.geometry.fine_count)[:12]
    worst = 0.0
    with OnnxBackend(bundle, precision="fp32") as backend:
        for count, coarse in ((len(images), np.zeros(1, np.int64)), (1, np.zeros(0, np.int64))):
            requests = [EncodeRequest(image=image, fine=fine, coarse=coarse) for image in images[:count]]
            inputs = images[:count], np.tile(fine, (count, 1)), np.tile(coarse, (count, 1))
            with torch.inference_mode():
                expected = encoder(*(torch.from_numpy(array) for array in inputs))
            for row, found in enumerate(Batcher(backend).encode(requests)):
                for got, want in zip((found.frame_D, found.fine_KD, found.coarse_LD), expected, strict=True):
                    worst = _larger(worst, got, want[row])
    return _check_difference("encoder", worst)


def check_heads_against_torch(
    bundle: Bundle, trained: Net, frames: Sequence[CameraFrame], rows: Sequence[int] = HEADS_ROWS
) -> float:
    """Compare the heads graph with torch on embeddings of real frames, at several numbers of rows N.

    Returns:
        The largest difference of any output, absolute, or relative where an output's values go beyond 1.

    Raises:
        CheckFailed: if it is over 1e-4.
    """
    import torch

    heads = trained.heads_with(torch.from_numpy(bundle.text.label_prompts))
    preprocess = Preprocessor(bundle.preprocessing)
    images = [preprocess(frame.image_bgr).image for frame in frames]
    fine = np.arange(bundle.geometry.fine_count)
    worst = 0.0
    with OnnxBackend(bundle, precision="fp32") as backend, torch.inference_mode():
        encoded = Batcher(backend).encode([EncodeRequest(image=image, fine=fine, coarse=fine[:0]) for image in images])
        frames_BD, fine_BND = np.stack([one.frame_D for one in encoded]), np.stack([one.fine_KD for one in encoded])
        for count in rows:
            clip, windows = (np.resize(x, (count, *x.shape[1:])) for x in (frames_BD, fine_BND))
            arrays = {"context": clip + windows.mean(axis=1), "clip": clip, "windows": windows}
            inputs = {name: arrays[name] for name in bundle.traits.heads.inputs}
            expected = heads(*map(torch.from_numpy, inputs.values()))
            got = backend.heads(**inputs)
            for name, want in expected._asdict().items():
                scale = max(1.0, float(want.abs().max()))  # a confident network's logits go far beyond 1
                worst = _larger(worst, getattr(got, name) / scale, want / scale)
    return _check_difference("heads graph", worst)


def _larger(worst: float, got: NDArray[np.float32], want: torch.Tensor) -> float:
    """The larger one of `worst` and the largest absolute difference; a NaN stays one."""
    return float(np.maximum(worst, np.abs(got - want.numpy()).max(initial=0.0)))


def _check_difference(what: str, worst: float) -> float:
    if not worst <= MAX_TORCH_DIFFERENCE:
        raise CheckFailed(
            f"the exported fp32 {what} differs from torch by {worst:.2g} (limit {MAX_TORCH_DIFFERENCE})",
            remedy="report it with the versions that `stprompt-edge doctor` prints; nothing was written",
        )
    return worst
