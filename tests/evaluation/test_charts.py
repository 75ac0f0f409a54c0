"""Charts: which there are, that they draw the figures, in both themes, and the same bytes for the same figures."""

from __future__ import annotations

import math
import sys
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.evaluation import charts as c
from stprompt_edge.evaluation.operating import frontier
from stprompt_edge.evaluation.records import ALARM_BUDGET, Evaluation, Picture, ScoredVideo
from stprompt_edge.reports import charts as shared
from stprompt_edge.reports.charts import Chart, require_matplotlib, shortened
from stprompt_edge.reports.theme import DARK, LIGHT
from tests.reports.drawn import axes_of, legend, line, row_names

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
        assert size_of(chart) == (int(chart.width_in * shared.DPI), int(chart.height_in * shared.DPI)), chart.name


def test_the_same_bytes_again_and_another_theme(streamed: Evaluation) -> None:
    chart = c.timelines_of(streamed)[0]
    light = chart.png(LIGHT)
    assert light == chart.png(LIGHT)
    assert len({light, chart.png(DARK), chart.png(LIGHT, transparent=True)}) == 3


def drawn(chart: str, of: Evaluation) -> list[Any]:
    return axes_of({one.name: one for one in c.charts_of(of)}[chart])


@pytest.fixture(scope="module")
def four() -> Evaluation:
    """Four scored frames, two of them abnormal: the curves can be told by hand."""
    options: dict[str, Any] = {"others": {1: [0.1, 0.9], None: [0.1, 0.9]}}
    videos = [scored("n", [0.1, 0.6], **options), scored("x", [0.4, 0.8], "fire", abnormal=[(0, 2)], **options)]
    return evaluation(videos)


def test_roc_is_drawn_from_the_scores(four: Evaluation) -> None:
    (axes,) = drawn("roc", four)
    false, true = line(axes, "AUC")
    # above 0.8 one of two; above 0.6 also a normal one; above 0.4 both abnormal ones; then all
    assert list(zip(false, true, strict=True)) == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    assert line(axes, "alarm at 0.50") == ([0.5], [0.5])  # of each kind one score is over it
    assert legend(axes) == ["AUC 0.750", "alarm at 0.50"]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))
    assert axes.xaxis.get_major_formatter()(0.25, 0) == "25%"
    assert axes.get_xlabel() == "normal frames reported"


def test_precision_and_recall_are_drawn_from_the_scores(four: Evaluation) -> None:
    (axes,) = drawn("precision-recall", four)
    recall, precision = line(axes, "AP")
    assert list(zip(recall, precision, strict=True)) == [
        (1, 0.5), (1, pytest.approx(2 / 3)), (0.5, 0.5), (0.5, 1), (0, 1)
    ]  # fmt: skip
    assert line(axes, "by chance")[1] == [0.5, 0.5]
    assert legend(axes) == ["by chance 0.500", "AP 0.833"]


def test_lookahead_is_drawn_from_its_points(streamed: Evaluation) -> None:
    (axes,) = drawn("lookahead", streamed)
    points = streamed.figures.lookahead
    assert line(axes, "_child0") == (list(range(len(points))), [point.auc for point in points])
    assert line(axes, "what the runtime does") == ([0], [points[0].auc])
    expected = [f"{'all' if p.lookahead is None else p.lookahead}\n{p.delay_seconds:.3g} s" for p in points]
    assert [text.get_text() for text in axes.get_xticklabels()] == expected
    low, high = axes.get_ylim()
    assert low < min(point.auc or 0 for point in points)
    assert max(point.auc or 0 for point in points) <= high <= 1


def test_alarms_are_drawn_from_their_points(streamed: Evaluation) -> None:
    alarm = streamed.figures.alarm
    assert alarm is not None
    found, time = drawn("alarms", streamed)
    points = frontier(alarm.curve)
    for axes, name in ((found, "detected_share"), (time, "median_seconds")):
        x, y = line(axes, "_child0")
        assert x == [point.false_alarms_per_hour for point in points]
        expected = [getattr(point, name) for point in points]
        expected = [math.nan if value is None or math.isinf(value) else value for value in expected]
        np.testing.assert_array_equal(y, expected)
        own = getattr(alarm.own, name)
        assert line(axes, "the bundle's, 0.50") == ([alarm.own.false_alarms_per_hour], [own])
        assert axes.get_ylim()[0] == 0
        assert [one.get_xdata()[0] for one in axes.lines if one.get_label().startswith("_")][-1] == ALARM_BUDGET
    assert found.get_ylim() == (0, 1.04)
    assert (found.get_ylabel(), time.get_ylabel()) == ("anomalies detected", "median seconds to alarm")
    assert time.get_xlabel().startswith("false alarms per hour of normal footage")
    assert legend(found)[0] == "the bundle's, 0.50"


def test_classes_are_bars_as_long_as_their_auc(streamed: Evaluation) -> None:
    (axes,) = drawn("classes", streamed)
    classes = streamed.figures.classes
    assert row_names(axes) == list(classes)
    assert [bar.get_width() for bar in axes.patches] == list(classes.values())
    rows = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert rows == pytest.approx(range(len(classes)))
    bottom, top = axes.get_ylim()
    assert top < rows[0] < rows[-1] < bottom  # the first one on top
    assert [text.get_text() for text in axes.texts] == [f"{auc:.3f}" for auc in classes.values()]
    assert axes.lines[0].get_xdata()[0] == 0.5
    assert axes.get_xlim() == (0, 1.1)


def test_a_timeline_holds_scores_truth_threshold_and_alarm() -> None:
    video = scored("x", [0.1, 0.9, 0.7], "fire", abnormal=[(1, 2)], others={None: [0, 0, 0]}, alarm=[False, True, True])
    (axes,) = axes_of(c.timelines_of(evaluation([video]))[0])
    truth, *curves = axes.patches
    assert (truth.get_x(), truth.get_width()) == (1, 1)
    for curve in curves:
        assert curve.get_data().values.tolist() == [0.1, 0.9, 0.7]
        assert curve.get_data().edges.tolist() == [0, 1, 2, 3]
    assert list(axes.lines[0].get_ydata()) == [0.5, 0.5]
    bars = [path.get_extents().extents.tolist() for path in axes.collections[0].get_paths()]
    assert [(bar[0], bar[2]) for bar in bars] == [(1, 2), (2, 3)]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 3), (0, 1.02))
    assert axes.xaxis.get_major_formatter()(2.0, 0) == "2 s"


def test_the_sheet_names_its_timelines() -> None:
    videos = [scored("a", [0.2]), scored("b", [0.3], "fire", abnormal=[(0, 1)])]
    sheet = axes_of(c.timelines_sheet(evaluation(videos, streaming=False)))
    assert [axes.get_title(loc="left") for axes in sheet] == ["b · fire", "a · normal"]
    assert [axes.patches[-1].get_data().values.tolist() for axes in sheet] == [[0.3], [0.2]]


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
    assert size_of(charts["alarms"])[0] == int(4.8 * shared.DPI)


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
    titles = [axes.get_title(loc="left") for axes in axes_of(c.pictures_sheet([picture], [picture]))]
    assert titles == [f"{kind}: IoU 0.50, score 0.90\nx at 1.0 s" for kind in ("best", "worst")]
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
