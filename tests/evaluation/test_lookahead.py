"""Scores at other lookaheads, recomputed from what one detector told, equal those of a detector with that lookahead."""

from __future__ import annotations

import numpy as np
import pytest

from stprompt_edge.evaluation.lookahead import Recorder, known_seconds, lookaheads
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.methods import open_method
from stprompt_edge.runtime.observer import Observer
from tests.runtime.tiny import GEOMETRY, VARIANTS, random_frames, tiny_bundle

METHODS = [
    {"name": "stprompt", "score": "mean"},
    {"name": "zero-shot"},
    {"name": "mil-ranking", "windows": GEOMETRY.fine_count},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method["name"]))
@pytest.mark.parametrize(("motion", "timing"), VARIANTS)
def test_recomputed_scores_equal_a_detector_of_that_lookahead(method: dict, motion: str, timing: str) -> None:
    bundle = tiny_bundle(motion=motion, motion_timing=timing, sigma=1.5, **method)
    frames = random_frames(30)
    recorder, backend = Recorder(), FakeBackend(bundle)
    first = Observer(bundle, backend, lookahead=0, localize="never")
    for tracked in [one for frame in frames for one in first.push(frame)] + first.flush():
        recorder.add(tracked)
    encoded = len(backend.encoded)
    for lookahead in lookaheads(1.5):
        observer = Observer(bundle, FakeBackend(bundle), lookahead=lookahead, localize="never")
        found = [one for frame in frames for one in observer.push(frame)] + observer.flush()
        recomputed = recorder.scores(open_method(bundle, backend.heads).scorer, 1.5, lookahead)
        np.testing.assert_array_equal(recomputed, [one.detection.score for one in found])
    assert len(backend.encoded) == encoded == len(frames)  # each frame went through the encoder once


def test_an_empty_stream_has_no_scores() -> None:
    bundle = tiny_bundle()
    assert len(Recorder().scores(open_method(bundle, FakeBackend(bundle).heads).scorer, 1.0, None)) == 0


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        (0.05, (None,)),
        (0.2, (0, 1, None)),
        (1.0, (0, 1, 2, 3, 4, 6, 8, 12, None)),
        (3.0, (0, 1, 2, 3, 4, 6, 8, 12, 24, None)),
    ],
)
def test_lookaheads_end_where_the_kernel_does(sigma: float, expected: tuple) -> None:
    assert lookaheads(sigma) == expected


@pytest.mark.parametrize(
    ("seconds", "late", "expected"),
    [
        ([0.0, 1.0, 2.5], 0, [0.0, 1.0, 2.5]),
        ([0.0, 1.0, 2.0], 1, [1.0, 2.0, 3.0]),
        ([0.0, 1.0, 2.0], 5, [5.0, 6.0, 7.0]),
        ([0.0], 2, [0.0]),  # one frame has no spacing
        ([], 2, []),
    ],
)
def test_a_score_is_known_when_its_last_frame_is(seconds: list[float], late: int, expected: list[float]) -> None:
    assert known_seconds(np.array(seconds), late).tolist() == expected


@pytest.mark.parametrize("timing", ["centered", "causal"])
@pytest.mark.parametrize("lookahead", [0, 2])
def test_known_seconds_are_those_at_which_a_detector_speaks(timing: str, lookahead: int) -> None:
    bundle = tiny_bundle(motion_timing=timing)
    observer, frames = Observer(bundle, FakeBackend(bundle), lookahead=lookahead), random_frames(12)
    spoken = {one.detection.frame_index: frame.seconds for frame in frames for one in observer.push(frame)}
    late = lookahead + (1 if timing == "centered" else 0)
    known = known_seconds(np.array([frame.seconds for frame in frames]), late)
    assert spoken == {index: known[index] for index in spoken}
    assert len(spoken) == len(frames) - late
