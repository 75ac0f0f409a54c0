"""Seeded batches of features of videos.

Suffixes: B videos, T sampled frames, S segments of a video, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stprompt_edge.features.index import FeatureVideo


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded with zeros behind each video's length."""

    x_clip: Tensor  # [B, T, D]
    x_as: Tensor  # [B, T, D]
    lengths: Tensor  # [B] int64
    labels: Tensor  # [B] int64


def sample_uniformly(length: int, max_length: int) -> NDArray[np.int64]:
    """Indices of at most `max_length` frames, evenly spread, first and last included when there are more."""
    if length <= max_length:
        return np.arange(length)
    return np.linspace(0, length - 1, max_length).round().astype(np.int64)


def make_batch(videos: Sequence[FeatureVideo], max_length: int) -> Batch:
    """Videos of any lengths -> one padded batch."""
    chosen = [sample_uniformly(len(video.x_clip), max_length) for video in videos]
    longest = max(map(len, chosen))
    width = videos[0].x_clip.shape[1]
    x_clip, x_as = (torch.zeros(len(videos), longest, width) for _ in range(2))
    for row, (video, frames) in enumerate(zip(videos, chosen, strict=True)):
        x_clip[row, : len(frames)] = torch.from_numpy(video.x_clip[frames])
        x_as[row, : len(frames)] = torch.from_numpy(video.x_as[frames])
    return Batch(
        x_clip=x_clip,
        x_as=x_as,
        lengths=torch.tensor([len(frames) for frames in chosen]),
        labels=torch.tensor([video.label for video in videos]),
    )


def epoch_videos(videos: Sequence[FeatureVideo], batch: int, seed: int, epoch: int) -> Iterator[list[FeatureVideo]]:
    """Half normal, half abnormal videos in each batch; the smaller half starts over until the larger one is used up.

    The order depends on `seed` and `epoch` only, so a resumed training sees what an uninterrupted one would have.
    There are some of both.
    """
    rng = np.random.default_rng((seed, epoch))
    halves = [[video for video in videos if (video.label > 0) == abnormal] for abnormal in (False, True)]
    longest = max(map(len, halves))
    orders = [_endless_order(rng, len(half), longest) for half in halves]
    per_half = batch // 2
    for start in range(0, longest, per_half):
        yield [half[i] for half, order in zip(halves, orders, strict=True) for i in order[start : start + per_half]]


def _endless_order(rng: np.random.Generator, count: int, needed: int) -> NDArray[np.int64]:
    """`needed` indices: shuffled rounds over 0..count-1."""
    rounds = -(-needed // count)
    return np.concatenate([rng.permutation(count) for _ in range(rounds)])[:needed]
