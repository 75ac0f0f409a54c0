"""Figures over repeats."""

import pytest

pytest.importorskip("torch")

from benchmarks.runs import mean_and_deviation, paired, spread_over


@pytest.mark.parametrize(
    ("values", "mean", "std"), [([0.5], 0.5, 0.0), ([0.5, 0.7], 0.6, 0.14142), ([1.0, 1.0, 1.0], 1.0, 0.0)]
)
def test_mean_and_deviation(values: list[float], mean: float, std: float) -> None:
    assert mean_and_deviation(values) == {"mean": mean, "std": std}


def test_differences_are_taken_repeat_by_repeat() -> None:
    found = paired([0.9, 0.7, 0.5], [0.8, 0.6, 0.6])
    assert found == {"mean": 0.03333, "standard_error": 0.06667, "above": 2}


def test_jobs_keep_their_order() -> None:
    assert spread_over([3, 1, 2], abs, processes=1) == [3, 1, 2]
