"""Heat, boxes and the strip: what must be visible where, on pictures of any size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.runtime.drawing import (
    ALARM,
    CALM,
    StripSample,
    StripStyle,
    clock,
    draw_boxes,
    draw_score_strip,
    overlay_heat,
    strip_height,
)
from stprompt_edge.runtime.records import Box

STYLE = StripStyle(threshold_on=0.5, span_seconds=10.0)


def grey(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 90, np.uint8)


def count(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((image == np.array(colour, np.uint8)).all(axis=2).sum())


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (15, 1), (321, 241), (960, 540)])
def test_any_size_keeps_its_shape_and_its_input(width: int, height: int) -> None:
    image = grey(width, height)
    heat = np.linspace(0, 1, 196, dtype=np.float32).reshape(14, 14)
    hot = overlay_heat(image, heat)
    boxed = draw_boxes(image, [Box(x0=0, y0=0, x1=width, y1=height, probability=0.9)], "Fighting")
    for drawn in (hot, boxed):
        assert drawn.shape == image.shape
        assert drawn.dtype == np.uint8
        assert not np.shares_memory(drawn, image)
    assert (image == 90).all()


def test_cold_areas_stay_as_they_were_and_hot_ones_turn_red() -> None:
    heat = np.zeros((14, 14), np.float32)
    heat[10:, 10:] = 1.0
    drawn = overlay_heat(grey(140, 140), heat, alpha=0.6)
    assert np.abs(drawn[:80, :80].astype(int) - 90).max() <= 1
    blue, green, red = drawn[-1, -1]
    assert red > 90
    assert red > blue
    assert red > green


def test_bad_heat_is_clipped() -> None:
    heat = np.full((14, 14), np.nan, np.float32)
    assert np.abs(overlay_heat(grey(28, 28), heat).astype(int) - 90).max() <= 1
    over, one = (overlay_heat(grey(28, 28), np.full((14, 14), value, np.float32)) for value in (7.0, 1.0))
    assert (over == one).all()


def test_boxes_are_scaled_to_the_picture() -> None:
    drawn = draw_boxes(grey(80, 60), [Box(x0=20, y0=40, x1=100, y1=80, probability=0.5)], "x", scale=0.5)
    rows, columns = np.nonzero((drawn == np.array(ALARM, np.uint8)).all(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (10, 20, 49, 39)


@pytest.mark.parametrize("box", [(0, 0, 320, 240), (300, 0, 320, 10), (0, 230, 5, 240), (-50, -50, 900, 900)])
@pytest.mark.parametrize("label", ["Fighting", "<script>" * 40, "打架", ""])
def test_labels_stay_inside_the_picture(box: tuple[int, int, int, int], label: str) -> None:
    x0, y0, x1, y1 = box
    drawn = draw_boxes(grey(320, 240), [Box(x0=x0, y0=y0, x1=x1, y1=y1, probability=0.91)], label)
    assert count(drawn, ALARM) > 100  # the plate behind the words


@pytest.mark.parametrize("width", [1, 16, 95, 96, 320, 641, 960])
def test_strip_of_any_width(width: int) -> None:
    samples = [StripSample(seconds=i * 0.5, score=0.1 * i, alarm=i > 5, label="Fighting") for i in range(10)]
    strip = draw_score_strip(width, samples, now=4.6, style=STYLE)
    assert strip.shape == (strip_height(width), width, 3)
    assert strip_height(width) % 2 == 0
    assert strip_height(width) <= 56
    empty = draw_score_strip(width, [], now=0.0, style=STYLE)
    assert empty.shape == strip.shape
    assert count(empty, ALARM) == 0


def test_strip_turns_red_with_the_alarm() -> None:
    calm = [StripSample(seconds=t, score=0.2, alarm=False) for t in range(5)]
    alarmed = [*calm, StripSample(seconds=5.0, score=0.9, alarm=True)]
    before = draw_score_strip(640, calm, now=4.5, style=STYLE)
    after = draw_score_strip(640, alarmed, now=5.5, style=STYLE)
    assert count(before, ALARM) == 0
    assert count(before, CALM) > 0
    assert (after[0] == np.array(ALARM, np.uint8)).all()


def test_history_moves_left_and_leaves() -> None:
    sample = StripSample(seconds=0.0, score=0.8, alarm=False)
    later = StripSample(seconds=1.0, score=0.0, alarm=False)
    columns = []
    for now in (2.0, 6.0):
        strip = draw_score_strip(90, [sample, later], now=now, style=STYLE)
        row = strip[round((1 - 0.8) * (strip.shape[0] - 5)) + 2]
        columns.append(int(np.nonzero((row == np.array(CALM, np.uint8)).all(axis=1))[0].min()))
    assert columns[1] < columns[0]
    gone = draw_score_strip(90, [sample, later], now=60.0, style=STYLE)
    assert count(gone[:8], CALM) == 0


def test_scores_outside_the_range_stay_inside_the_strip() -> None:
    for score in (-3.0, 9.0):
        draw_score_strip(320, [StripSample(seconds=0.0, score=score, alarm=False)], now=1.0, style=STYLE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1.0, "0:00.0"), (0.0, "0:00.0"), (59.96, "1:00.0"), (3599.96, "1:00:00"), (90061.0, "25:01:01")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
