"""Requests of many tracks: together where they fit, in order in any case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.runtime.backends.base import Encoded
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.track import EncodeRequest
from tests.runtime.tiny import GEOMETRY, tiny_bundle

BUNDLE = tiny_bundle()


class Counting(FakeBackend):
    """Keeps B, K and L of each call."""

    def __init__(self) -> None:
        super().__init__(BUNDLE)
        self.calls: list[tuple[int, int, int]] = []

    def encode(self, image: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> Encoded:
        self.calls.append((len(image), fine.shape[1], coarse.shape[1]))
        return super().encode(image, fine, coarse)


def request(fine: int, coarse: int, seed: int = 0) -> EncodeRequest:
    rng = np.random.default_rng(seed)
    return EncodeRequest(
        image=rng.random((3, 28, 28), dtype=np.float32),
        fine=rng.permutation(GEOMETRY.fine_count)[:fine],
        coarse=rng.permutation(GEOMETRY.coarse_count)[:coarse],
    )


@pytest.mark.parametrize(
    ("windows", "largest", "calls"),
    [
        ([], None, []),
        ([(12, 0)], None, [(1, 12, 0)]),
        ([(12, 0)] * 3, None, [(3, 12, 0)]),
        ([(12, 0)] * 5, 2, [(2, 12, 0), (2, 12, 0), (1, 12, 0)]),
        ([(12, 0), (49, 16), (12, 0)], None, [(2, 12, 0), (1, 49, 16)]),
        ([(12, 0), (12, 1)], None, [(1, 12, 0), (1, 12, 1)]),
        ([(0, 0), (0, 0)], 1, [(1, 0, 0), (1, 0, 0)]),
    ],
)
def test_requests_of_one_kind_are_one_call(
    windows: list[tuple[int, int]], largest: int | None, calls: list[tuple[int, int, int]]
) -> None:
    backend = Counting()
    Batcher(backend, largest).encode([request(*each, seed=n) for n, each in enumerate(windows)])
    assert backend.calls == calls


@given(st.lists(st.sampled_from([(12, 0), (49, 16), (49, 0), (0, 0)]), max_size=7), st.sampled_from([None, 1, 2, 3]))
def test_each_answer_is_that_of_its_request_alone(windows: list[tuple[int, int]], largest: int | None) -> None:
    requests = [request(*each, seed=n) for n, each in enumerate(windows)]
    answers = Batcher(FakeBackend(BUNDLE), largest).encode(requests)
    assert len(answers) == len(requests)
    for asked, got in zip(requests, answers, strict=True):
        want = FakeBackend(BUNDLE).encode(asked.image[None], asked.fine[None], asked.coarse[None])
        np.testing.assert_allclose(got.frame_D, want.frame[0], atol=1e-6)
        np.testing.assert_allclose(got.fine_KD, want.fine[0], atol=1e-6)
        np.testing.assert_allclose(got.coarse_LD, want.coarse[0], atol=1e-6)


def test_all_windows_of_a_frame_in_order() -> None:
    found = EncodeRequest.of_all(np.zeros((3, 28, 28), np.float32), GEOMETRY)
    assert found.fine.tolist() == list(range(49))
    assert found.coarse.tolist() == list(range(16))
