"""Charts: which there are, that they draw in both themes, and that the same figures give the same bytes."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.evaluation import charts as c
from stprompt_edge.evaluation.records import Evaluation, Picture, ScoredVideo
from stprompt_edge.reports import theme
from stprompt_edge.reports.theme import DARK, LIGHT, Chart, require_matplotlib, shortened

from .scored import evaluation, located, scored, small_set


@pytest.fixture(scope="module")
def streamed() -> Evaluation:
    return evaluation(small_set())


def size_of(chart: Chart) -> tuple[int, int]:
    image = cv2.imdecode(np.frombuffer(chart.png(LIGHT), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.shape[1], image.shape[0]


def test_streaming_has_all_charts_and_offline_what_it_can(streamed: Evaluation) -> None:
    names = ["roc", "precision-recall", "lookahead", "alarms", "classes"]
    assert [chart.name for chart in c.charts_of(streamed)] == names
    offline = evaluation(small_set(streaming=False), streaming=False)
    assert [chart.name for chart in c.charts_of(offline)] == ["roc", "precision-recall", "classes"]


def test_every_chart_draws(streamed: Evaluation) -> None:
    for chart in [*c.charts_of(streamed), c.timelines_sheet(streamed)]:
        assert size_of(chart) == (int(chart.width_in * theme.DPI), int(chart.height_in * theme.DPI)), chart.name


def test_the_same_bytes_again_and_another_theme(streamed: Evaluation) -> None:
    chart = c.timelines_of(streamed)[0]
    light = chart.png(LIGHT)
    assert light == chart.png(LIGHT)
    assert len({light, chart.png(DARK), chart.png(LIGHT, transparent=True)}) == 3


def streamed_pair(scores: list[float], **changes: Any) -> list[ScoredVideo]:
    """A normal and an abnormal video with the same scores."""
    options: dict[str, Any] = {"others": {None: scores}}
    fire: dict[str, Any] = {"label": "fire", "abnormal": [(len(scores) - 1, len(scores))], **options, **changes}
    return [scored("n", scores, **options), scored("x", scores, **fire)]


@pytest.mark.parametrize(
    "videos",
    [
        streamed_pair([0.2, 0.9])[:1],  # nothing but normal footage
        streamed_pair([0.2, 0.9])[1:],  # none of it
        streamed_pair([0.2, 0.9], abnormal=None),  # no intervals
        streamed_pair([0.0, 0.0]),
        streamed_pair([1.0], label="a$b_{"),
        [*streamed_pair([0.9, 0.9], abnormal=[(0, 2)]), scored("m", [0.1], others={None: [0.1]})],  # seconds far apart
    ],
)
def test_alarms_draw_whatever_there_is(videos: list) -> None:
    charts = {chart.name: chart for chart in c.charts_of(evaluation(videos))}
    assert size_of(charts["alarms"])[0] == int(4.8 * theme.DPI)


def test_odd_names_are_drawn_as_they_are() -> None:
    """No mathematics between dollar signs, and no warning for letters that the font lacks."""
    name = "$x^2$ 火災 " + "long/" * 30
    assert size_of(c.timelines_sheet(evaluation([scored(name, [0.1, 0.5], others={None: [0.1, 0.5]})])))


def test_classes_take_turns_in_the_timelines() -> None:
    videos = [scored(f"n{i}", [i / 20]) for i in range(20)]
    videos += [scored(f"a{i}", [0.5], "fire", abnormal=[(0, 1)]) for i in range(20)]
    videos += [scored("b0", [0.5], "fall", abnormal=[(0, 1)])]
    chosen = [video.name for video in c.chosen_videos(videos)]
    assert len(chosen) == c.MAX_TIMELINES
    assert chosen[:3] == ["b0", "a0", "a1"]
    assert chosen[-4:] == ["n19", "n18", "n17", "n16"]
    assert len(c.chosen_videos(videos[:20])) == c.MAX_TIMELINES  # all of one kind
    assert [video.name for video in c.chosen_videos(videos[:1])] == ["n0"]


def test_pictures_on_one_sheet() -> None:
    done, jpeg = cv2.imencode(".jpg", np.zeros((27, 96, 3), np.uint8))
    assert done
    picture = Picture(video="x", label="fire", seconds=1.0, located=located(0.5), jpeg=jpeg.tobytes())
    assert size_of(c.pictures_sheet([picture], [])) == (192, 78)
    assert size_of(c.pictures_sheet([picture, picture], [picture])) == (384, 156)


def test_shortened_keeps_the_end() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdef", 4) == "…def"


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EnvironmentFailure, match=r"matplotlib cannot be imported") as caught:
        require_matplotlib()
    assert caught.value.remedy == 'pip install "stprompt-edge[train]"'
