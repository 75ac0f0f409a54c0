"""A video through the encoder: every sampled frame and its windows embedded, by the track that the edge runs.

Suffixes: T sampled frames, N fine windows, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import SourceError
from stprompt_edge.features.files import half, stored_tensors
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.motion import aggregate
from stprompt_edge.runtime.sampler import Sampler
from stprompt_edge.runtime.sources import open_source, pictures_of
from stprompt_edge.runtime.track import EmbeddedFrame, EncodeRequest, WindowTrack


def source_size(video: Path) -> int | None:
    """Bytes of a video file, or pictures of an image folder; None if it cannot be looked at."""
    try:
        if video.is_dir():
            return len(pictures_of(video))
        return video.stat().st_size
    except OSError:
        return None


def extract_video(
    video: Path,
    bundle: Bundle,
    backend: Backend,
    *,
    origin: FeatureOrigin,
    keep_windows: bool = False,
    batch: int = 1,
    fps: float | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> VideoFeatures:
    """Embed every sampled frame of a video and its windows.

    Args:
        video: file or image folder to read.
        bundle: encoder, geometry and SA²'s K and timing.
        backend: the bundle's graphs, open.
        origin: what the backend embeds with, and the stride.
        keep_windows: encode all fine windows and keep them; otherwise only the K selected ones are encoded.
        batch: sampled frames to encode at once.
        fps: of an image folder; None where nobody knows, and for files.
        on_frame: called after each sampled frame is read; what it raises ends the extraction.

    Raises:
        SourceError: if the video cannot be read, or its features cannot be stored: not finite in float16.
    """
    size = source_size(video)  # before it is read: of a video that is still being copied it will not be the same later
    sampler, rows = Sampler(origin.stride), _Rows(bundle, backend, keep_windows, batch)
    wanted: list[int] = []

    def takes(index: int) -> bool:
        if sampler.takes(index):
            wanted.append(index)
        return sampler.takes(index)

    with open_source(str(video), fps=fps) as source:
        spacing = sampler.seconds_between_samples(source.info.known_fps)
        for frame in source.frames(takes):
            rows.ask(rows.track.push(frame))
            on_frame()
    rows.ask(rows.track.flush())
    rows.encode()
    if not rows.frames:
        raise SourceError(f"{video}: none of its sampled frames can be read", remedy="copy it again")
    features = rows.features(origin, spacing, size, wanted, tuple(source.warnings))
    if not all(np.isfinite(tensor).all() for tensor in stored_tensors(features).values()):
        raise SourceError(
            f"{video}: the encoder ({origin.precision}) gives values that are not finite in float16",
            remedy="extract with another --precision",
        )
    return features


class _Rows:
    """Drives the track of one video, a batch of requests at a time, and collects its rows."""

    def __init__(self, bundle: Bundle, backend: Backend, keep_windows: bool, batch: int) -> None:
        self.track = WindowTrack(bundle, motion="pixel", keeps_images=False)
        self.track.all_fine = keep_windows
        self._batcher = Batcher(backend)
        self._batch = batch
        self._keep_windows = keep_windows
        self._requests: list[EncodeRequest] = []
        self._windows: list[NDArray[np.float16]] = []  # [N, D] each
        self._x_as: list[NDArray[np.float32]] = []  # [D] each
        self._x_clip: list[NDArray[np.float32]] = []  # [D] each
        self._motion: list[NDArray[np.float32]] = []  # [N] each
        self.frames: list[int] = []  # that were read

    def ask(self, request: EncodeRequest | None) -> None:
        """Have a request answered, when there are enough for a batch."""
        if request is not None:
            self._requests.append(request)
        if len(self._requests) == self._batch:
            self.encode()

    def encode(self) -> None:
        """Answer everything that is asked for."""
        requests, self._requests = self._requests, []
        for embeddings in self._batcher.encode(requests):
            embedded = self.track.take(embeddings)
            assert embedded is not None  # pixel motion: it was known before
            self._add(embedded)

    def _add(self, embedded: EmbeddedFrame) -> None:
        windows = embedded.windows
        assert windows is not None
        assert windows.motion_N is not None
        self.frames.append(embedded.index)
        self._x_clip.append(embedded.x_clip_D)
        self._x_as.append(aggregate(windows.embeddings_KD, windows.selection.attention))
        self._motion.append(windows.motion_N)
        if self._keep_windows:
            assert embedded.fine_ND is not None
            self._windows.append(half(embedded.fine_ND))

    def features(
        self, origin: FeatureOrigin, spacing: float, size: int | None, wanted: Sequence[int], warnings: tuple[str, ...]
    ) -> VideoFeatures:
        """All rows."""
        return VideoFeatures(
            origin=origin,
            seconds_between_samples=spacing,
            x_clip=np.stack(self._x_clip),
            x_as=np.stack(self._x_as),
            motion=np.stack(self._motion),
            windows=np.stack(self._windows) if self._keep_windows else None,
            frames=None if self.frames == wanted else np.array(self.frames, np.int64),
            source_size=size,
            warnings=warnings,
        )
