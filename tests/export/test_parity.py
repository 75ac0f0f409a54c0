"""The parity gate: real footage, limits, and what is refused."""

from __future__ import annotations

import copy
import weakref
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import nn

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle, ParityFigures
from stprompt_edge.errors import CheckFailed, SourceError, UsageError
from stprompt_edge.export.exporting import Model
from stprompt_edge.export.parity import (
    Trace,
    check_against_torch,
    check_heads_against_torch,
    check_parity,
    compare,
    read_parity_frames,
    trace,
)
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.encoder import Embeddings, PackedEncoder
from stprompt_edge.runtime import planes
from stprompt_edge.runtime.planes import upright_bgr
from tests.videos import write_video


def test_a_trace_has_every_embedding_of_every_frame(small_bundle: Bundle) -> None:
    frames, told = read_parity_frames(DEMO_CLIP, 3), []
    got = trace(small_bundle, "fp32", frames, lambda: told.append(1))
    assert got.embeddings.shape == (3 * (1 + 49 + 16), 128)
    assert got.scores.shape == (3,)
    assert len(told) == 3


@pytest.mark.parametrize("count", [1, 2, 8])
def test_frames_are_spread_over_the_video(tmp_path: Path, count: int) -> None:
    frames = read_parity_frames(write_video(tmp_path / "v.mp4", frames=24), count)
    assert [frame.index for frame in frames] == [i * (24 // count) for i in range(count)]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.webm", "v.ts"])
def test_a_long_video_is_never_in_memory(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[weakref.ref[np.ndarray]] = []
    alive = []

    def watched(frame: av.VideoFrame) -> np.ndarray:
        picture = upright_bgr(frame)
        pictures.append(weakref.ref(picture))
        alive.append(sum(known() is not None for known in pictures))
        return picture

    monkeypatch.setattr(planes, "upright_bgr", watched)
    codec = "libvpx-vp9" if name == "v.webm" else "libx264"
    frames = read_parity_frames(write_video(tmp_path / name, frames=101, codec=codec), 4)
    assert len(frames) == 4
    assert frames[0].index == 0
    assert frames[-1].index >= 64
    assert all(16 <= later.index - frame.index <= 48 for frame, later in pairwise(frames))
    assert max(alive) <= 2 * 4


def test_a_short_video_gives_what_it_has(tmp_path: Path) -> None:
    assert len(read_parity_frames(write_video(tmp_path / "v.mp4", frames=2), 8)) == 2


@pytest.mark.parametrize("frames", [1, 5])
def test_a_video_without_two_different_frames_proves_nothing(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "still.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 9, np.uint8), format="bgr24")))
        container.mux(stream.encode(None))
    with pytest.raises(UsageError, match=r"still\.mkv has no two different frames\n  fix: .*--parity-video"):
        read_parity_frames(path, 8)


def test_a_parity_video_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((SourceError, UsageError), match=r"none\.mp4"):
        read_parity_frames(tmp_path / "none.mp4", 8)


def a_trace(embeddings: list[list[float]], scores: list[float]) -> Trace:
    return Trace(embeddings=np.array(embeddings, np.float32), scores=np.array(scores, np.float32))


NAN = float("nan")


@pytest.mark.parametrize(
    ("candidate", "cosine", "difference"),
    [
        (a_trace([[1, 0], [0, 2]], [0.2, 0.8]), 1.0, 0.0),
        (a_trace([[5, 0], [0, 1]], [0.2, 0.8]), 1.0, 0.0),  # length does not count
        (a_trace([[1, 0], [1, 1]], [0.2, 0.8]), 0.5**0.5, 0.0),  # the worst counts
        (a_trace([[1, 0], [0, 2]], [0.2, 0.5]), 1.0, 0.3),
        (a_trace([[1, 0], [0, -2]], [0.5, 0.8]), -1.0, 0.3),
        (a_trace([[1, 0], [0, NAN]], [0.2, 0.8]), -1.0, 0.0),
        (a_trace([[1, 0], [0, 2]], [0.2, NAN]), 1.0, 1.0),
    ],
)
def test_compare(candidate: Trace, cosine: float, difference: float) -> None:
    figures = compare(candidate, a_trace([[1, 0], [0, 2]], [0.2, 0.8]), "x.mp4")
    assert figures.min_cosine == pytest.approx(cosine, abs=1e-6)
    assert figures.max_score_difference == pytest.approx(difference, abs=1e-6)
    assert (figures.frames, figures.source) == (2, "x.mp4")


@pytest.mark.parametrize(
    ("cosine", "difference", "fine"),
    [(1.0, 0.0, True), (0.999, 0.01, True), (0.9989, 0.0, False), (1.0, 0.0101, False), (-1.0, 1.0, False)],
)
def test_the_limits(cosine: float, difference: float, fine: bool) -> None:
    figures = ParityFigures(min_cosine=cosine, max_score_difference=difference, frames=8, source="x.mp4")
    assert check_parity("fp16", figures, force=True).accepted_by_force is not fine
    if fine:
        assert check_parity("fp16", figures, force=False) == figures
        return
    message = rf"fp16 missed parity with fp32 on 8 frames of x\.mp4: smallest cosine {cosine:.5f}.*\n  fix: .*--force"
    with pytest.raises(CheckFailed, match=message):
        check_parity("fp16", figures, force=False)


class Shifted(nn.Module):
    """An encoder that is a little off."""

    def __init__(self, encoder: nn.Module, by: float) -> None:
        super().__init__()
        self.encoder, self.by = encoder, by

    def forward(self, *inputs: torch.Tensor) -> Embeddings:
        return Embeddings(*(part + self.by for part in self.encoder(*inputs)))


def test_fp32_must_be_torchs(small_bundle: Bundle, demo_clip: Clip) -> None:
    encoder = PackedEncoder(demo_clip.model.visual, Geometry()).eval()
    frames = read_parity_frames(DEMO_CLIP, 2)
    assert check_against_torch(small_bundle, encoder, frames) < 1e-4
    for by in (2e-4, NAN):
        with pytest.raises(
            CheckFailed, match=r"fp32 encoder differs from torch by .* \(limit 0.0001\)\n  fix: report it"
        ):
            check_against_torch(small_bundle, Shifted(encoder, by), frames)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["stprompt", "ranking"])
def test_heads_must_be_torchs(kind: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue({"stprompt": "small_bundle", "ranking": "ranking_bundle"}[kind])
    model: Model = request.getfixturevalue(f"{kind}_model")
    assert model.trained is not None
    frames = read_parity_frames(DEMO_CLIP, 2)
    assert check_heads_against_torch(bundle, model.trained, frames) < 1e-4
    for change in (lambda weight: weight * 1.1, lambda weight: weight * NAN):
        other = copy.deepcopy(model.trained)
        with torch.no_grad():
            for weight in other.heads.parameters():
                weight.copy_(change(weight))
        with pytest.raises(
            CheckFailed, match=r"fp32 heads graph differs from torch by .* \(limit 0.0001\)\n  fix: rep"
        ):
            check_heads_against_torch(bundle, other, frames)
