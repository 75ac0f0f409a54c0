"""The step without I/O: requests in order, many open at once, and nothing that reads, waits or looks at a clock."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence

import numpy as np
import pytest

from stprompt_edge.bundle import Bundle
from stprompt_edge.runtime import track as module
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.track import EncodeRequest, Track, TrackedFrame, WindowTrack
from tests.runtime.tiny import GEOMETRY, VARIANTS, random_frames, ranking_bundle, tiny_bundle

FINE, COARSE = GEOMETRY.fine_count, GEOMETRY.coarse_count
METHODS = [{"name": "stprompt"}, {"name": "zero-shot"}, {"name": "mil-ranking", "windows": FINE}]


def drive(tracks: Sequence[Track], backend: FakeBackend, frames: Sequence[Sequence], batcher: Batcher) -> list[list]:
    """All tracks in step: the requests of a moment are answered together."""
    found: list[list[TrackedFrame]] = [[] for _ in tracks]
    for together in zip(*frames, strict=True):
        answer(tracks, [track.push(frame) for track, frame in zip(tracks, together, strict=True)], batcher, found)
    answer(tracks, [track.flush() for track in tracks], batcher, found)
    for track, mine in zip(tracks, found, strict=True):
        mine += track.finish()
    return found


def answer(
    tracks: Sequence[Track], requests: Sequence[EncodeRequest | None], batcher: Batcher, found: list[list[TrackedFrame]]
) -> None:
    asked = [(n, request) for n, request in enumerate(requests) if request is not None]
    for (n, _), embeddings in zip(asked, batcher.encode([request for _, request in asked]), strict=True):
        found[n] += tracks[n].take(embeddings)


def alone(bundle: Bundle, frames: Sequence, lookahead: int | None) -> list[float]:
    observer = Observer(bundle, FakeBackend(bundle), localize="never", lookahead=lookahead)
    found = [one for frame in frames for one in observer.push(frame)] + observer.flush()
    return [one.detection.score for one in found]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method["name"]))
@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
@pytest.mark.parametrize("lookahead", [0, 2, None])
def test_two_tracks_share_each_call_of_the_encoder_and_score_as_alone(
    method: dict, motion: str, timing: str, lookahead: int | None
) -> None:
    bundle = tiny_bundle(motion=motion, motion_timing=timing, **method)
    frames = [random_frames(9, seed=seed) for seed in (1, 2)]
    backend = FakeBackend(bundle)
    sizes: list[int] = []
    encode = backend.encode
    backend.encode = lambda image, fine, coarse: (sizes.append(len(image)), encode(image, fine, coarse))[1]  # type: ignore[method-assign]
    tracks = [Track(bundle, backend.heads, lookahead=lookahead) for _ in frames]
    found = drive(tracks, backend, frames, Batcher(backend))
    assert sizes == [2] * 9  # B = 2, once for each pair of frames
    for mine, of_one in zip(found, frames, strict=True):
        assert [one.detection.frame_index for one in mine] == list(range(9))
        scores = [one.detection.score for one in mine]
        np.testing.assert_allclose(scores, alone(bundle, of_one, lookahead), atol=1e-6)


@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
def test_a_push_makes_one_request_at_most(motion: str, timing: str) -> None:
    bundle = tiny_bundle(motion=motion, motion_timing=timing)
    track = WindowTrack(bundle)
    late = motion == "pixel" and timing == "centered"
    made = [track.push(frame) is not None for frame in random_frames(4)]
    assert made == [not late, True, True, True]
    assert (track.flush() is not None) == late


def test_open_requests_are_answered_oldest_first() -> None:
    bundle = tiny_bundle(motion_timing="causal")
    track, batcher = WindowTrack(bundle), Batcher(FakeBackend(bundle))
    requests = [track.push(frame) for frame in random_frames(5)]
    embedded = [track.take(one) for one in batcher.encode([request for request in requests if request])]
    assert [one.index for one in embedded if one] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("attribute", "bundle", "expected"),
    [
        ("", tiny_bundle(motion_timing="causal"), (12, 0)),
        ("all_fine", tiny_bundle(motion_timing="causal"), (FINE, 0)),
        ("all_windows", tiny_bundle(motion_timing="causal"), (FINE, COARSE)),
        ("", tiny_bundle(motion="feature", motion_timing="causal"), (FINE, 0)),
        ("all_windows", tiny_bundle(motion="feature", motion_timing="causal"), (FINE, COARSE)),
        ("", ranking_bundle(), (FINE, 0)),
    ],
)
def test_how_many_windows_are_asked_for(attribute: str, bundle: Bundle, expected: tuple[int, int]) -> None:
    track = WindowTrack(bundle, coarse_count=COARSE)
    if attribute:
        setattr(track, attribute, True)
    request = track.push(random_frames(1)[0])
    assert request is not None
    assert (len(request.fine), len(request.coarse)) == expected
    assert request.image.shape == (3, 28, 28)


def test_the_windows_with_most_motion_come_with_their_motion() -> None:
    bundle = tiny_bundle(motion_timing="causal")
    track, batcher = WindowTrack(bundle), Batcher(FakeBackend(bundle))
    for frame in random_frames(3):
        request = track.push(frame)
        assert request is not None
        embedded = track.take(batcher.encode([request])[0])
    assert embedded is not None
    assert embedded.windows is not None
    motion_N = embedded.windows.motion_N
    assert motion_N is not None
    assert sorted(motion_N, reverse=True)[:12] == [motion_N[i] for i in embedded.windows.selection.indices]
    assert embedded.windows.embeddings_KD.shape == (12, 16)


def test_a_track_that_keeps_no_images_says_so_when_it_is_asked_to_localize() -> None:
    bundle = tiny_bundle(motion_timing="causal")
    backend = FakeBackend(bundle)
    track, batcher = Track(bundle, backend.heads, keeps_images=False), Batcher(backend)
    request = track.push(random_frames(1)[0])
    assert request is not None
    (tracked,) = track.take(batcher.encode([request])[0])
    with pytest.raises(AssertionError, match="nothing is localized afterwards"):
        track.request_to_localize(tracked)


def test_no_backend_no_thread_and_no_clock_is_inside() -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    assert not imported & {"time", "threading", "queue", "asyncio", "av", "datetime"}
    backends = {name for name in imported if name.startswith("stprompt_edge.runtime.backends")}
    assert backends == {"stprompt_edge.runtime.backends.base"}  # the records of what a backend says
