"""The fake backend: deterministic, of the right shapes, and a record of what was encoded."""

from __future__ import annotations

import numpy as np
import pytest

from stprompt_edge.runtime.backends.fake import FakeBackend
from tests.runtime.tiny import tiny_bundle


@pytest.mark.parametrize(("batch", "fine", "coarse"), [(1, 0, 0), (1, 1, 0), (2, 12, 16)])
def test_shapes_and_record(batch: int, fine: int, coarse: int) -> None:
    with FakeBackend(tiny_bundle()) as backend:
        image = np.random.default_rng(0).random((batch, 3, 28, 28), dtype=np.float32)
        indices = np.zeros((batch, fine), np.int64), np.zeros((batch, coarse), np.int64)
        encoded = backend.encode(image, *indices)
        assert [x.shape for x in (encoded.frame, encoded.fine, encoded.coarse)] == [
            (batch, 16),
            (batch, fine, 16),
            (batch, coarse, 16),
        ]
        assert backend.encoded == [(fine, coarse)]


def test_an_embedding_depends_on_its_own_window_only() -> None:
    backend = FakeBackend(tiny_bundle())
    image = np.zeros((1, 3, 28, 28), np.float32)
    image[0, :, 4:8, 0:4] = 1  # fine window 7
    fine = backend.encode(image, np.arange(49)[None], np.zeros((1, 0), np.int64)).fine[0]
    assert np.flatnonzero(np.abs(fine).sum(axis=1)).tolist() == [7]


def test_two_backends_agree() -> None:
    bundle = tiny_bundle()
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    first, second = (FakeBackend(bundle).heads(context=x[0], clip=x[1]) for _ in range(2))
    assert (first.similarity == second.similarity).all()
    assert first.anomaly_logit.shape == (3,)
    assert np.abs(first.similarity).max() <= 1 + 1e-6
