"""The alarm's hysteresis, by hand and against a slow literal one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.bundle import AlarmSection
from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.alarm import AlarmSettings, Hysteresis


def settings(min_seconds: float = 0.0) -> AlarmSettings:
    return AlarmSettings(threshold_on=0.6, threshold_off=0.4, min_seconds=min_seconds)


@pytest.mark.parametrize(("on", "off"), [(0.4, 0.5), (1.1, 0.5), (0.5, -0.1), (math.nan, 0.5), (0.5, math.nan)])
def test_thresholds_that_do_not_fit_are_refused(on: float, off: float) -> None:
    with pytest.raises(UsageError, match=r"0 <= off <= on <= 1, got on"):
        AlarmSettings(threshold_on=on, threshold_off=off)


@pytest.mark.parametrize(
    ("bundle_on", "bundle_off", "threshold", "on", "off"),
    [
        (0.5, 0.4, None, 0.5, 0.4),
        (0.5, 0.4, 0.25, 0.25, 0.2),  # the ratio of off to on stays
        (0.5, 0.4, 0.0, 0.0, 0.0),
        (0.5, 0.4, 1.0, 1.0, 0.8),
        (0.0, 0.0, 0.7, 0.7, 0.7),  # no ratio to keep
        (0.6, 0.0, 0.3, 0.3, 0.0),
    ],
)
def test_a_threshold_of_the_user_moves_both(
    bundle_on: float, bundle_off: float, threshold: float | None, on: float, off: float
) -> None:
    section = AlarmSection(threshold_on=bundle_on, threshold_off=bundle_off, min_seconds=2)
    found = AlarmSettings.from_bundle(section, threshold)
    assert (found.threshold_on, found.threshold_off) == pytest.approx((on, off))
    assert found.min_seconds == 2


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan, math.inf])
def test_a_threshold_outside_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="alarm thresholds must be"):
        AlarmSettings.from_bundle(AlarmSection(), threshold)


@pytest.mark.parametrize(
    ("min_seconds", "scores", "on"),
    [
        (0, [], ""),
        (0, [0.6], "#"),  # the threshold itself is above
        (0, [0.59], "."),
        (0, [0.7, 0.5, 0.4, 0.39, 0.5], "###.."),
        (0, [0.1, 0.7, 0.1, 0.7], ".#.#"),
        (2, [0.7, 0.7, 0.7, 0.5], "..##"),
        (2, [0.7, 0.7, 0.5, 0.7, 0.7, 0.7], ".....#"),  # a dip starts the wait again
        (2, [0.7, 0.7, 0.7, 0.1, 0.7, 0.7, 0.7], "..#...#"),
        (2, [0.7], "."),
    ],
)
def test_hysteresis(min_seconds: float, scores: list[float], on: str) -> None:
    alarm = Hysteresis(settings(min_seconds))
    assert "".join("#" if alarm.update(i, s) else "." for i, s in enumerate(scores)) == on


SAMPLES = st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.3, 0.4, 0.5, 0.6, 0.9])), max_size=40)


@given(SAMPLES, st.sampled_from([0.0, 1.0, 2.5]))
def test_the_alarm_equals_a_slow_literal_one(steps: list[tuple[float, float]], min_seconds: float) -> None:
    times = np.cumsum([gap for gap, _ in steps]).tolist()
    scores = [score for _, score in steps]
    literal: list[bool] = []
    for i, score in enumerate(scores):
        if i and literal[-1]:
            literal.append(score >= 0.4)
            continue
        start = i  # of the unbroken run above the threshold, looking back from here
        while start > 0 and scores[start - 1] >= 0.6 and not literal[start - 1]:
            start -= 1
        literal.append(score >= 0.6 and times[i] - times[start] >= min_seconds)
    alarm = Hysteresis(settings(min_seconds))
    assert [alarm.update(t, s) for t, s in zip(times, scores, strict=True)] == literal
