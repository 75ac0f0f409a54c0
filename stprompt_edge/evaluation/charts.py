"""The charts of an evaluation: what it has figures for, and only that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.evaluation import metrics
from stprompt_edge.evaluation.figures import frames_together, videos_together
from stprompt_edge.evaluation.operating import as_columns, frontier
from stprompt_edge.evaluation.records import (
    ALARM_BUDGET,
    AlarmFigures,
    Evaluation,
    OperatingPoint,
    Picture,
    ScoredVideo,
)
from stprompt_edge.reports.charts import DASHED, DOTTED, WIDTH_IN, Chart, named_rows, percent, shortened
from stprompt_edge.reports.theme import Theme

MAX_TIMELINES = 12
_MAX_CURVE_POINTS = 2000  # of a line; a picture has fewer columns
_RATES = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # false alarms per hour, as ticks
_AXES = {
    "threshold_on": "alarm threshold",
    "false_alarms_per_hour": "false alarms per hour of normal footage",
    "detected_share": "anomalies detected",
    "median_seconds": "median seconds to alarm",
}


def charts_of(evaluation: Evaluation) -> list[Chart]:
    """The charts that its figures allow; timelines and pictures are separate."""
    figures = evaluation.figures
    charts: list[Chart] = []
    ranking = figures.frames or figures.videos
    if ranking is not None:
        charts += _ranking_charts(evaluation, "frames" if figures.frames else "videos")
    if figures.lookahead and ranking is not None:
        caption = "AUC by the number of later sampled frames that a score waits for, and the seconds that this takes."
        charts.append(
            Chart(name="lookahead", title="AUC against lookahead", caption=caption, height_in=3.2,
                  draw=lambda figure, theme: _draw_lookahead(figure, theme, evaluation))
        )  # fmt: skip
    if figures.alarm is not None:
        charts.append(_alarm_chart(figures.alarm))
    if len(figures.classes) > 1:  # of one class it is the AUC of all
        charts.append(
            Chart(name="classes", title="AUC of each class", caption="Frames of a class against all normal ones.",
                  height_in=0.9 + 0.28 * len(figures.classes),
                  draw=lambda figure, theme: _draw_classes(figure, theme, evaluation))
        )  # fmt: skip
    return charts


def timelines_of(evaluation: Evaluation) -> list[Chart]:
    """One chart for each of the chosen videos."""
    return [_timeline(evaluation, video, n) for n, video in enumerate(chosen_videos(evaluation.videos), 1)]


def _timeline(evaluation: Evaluation, video: ScoredVideo, number: int) -> Chart:
    threshold = evaluation.model.threshold_on
    return Chart(
        name=f"timeline-{number}",
        title=video.name,
        caption=f"{video.label}: score over time",
        height_in=1.25,
        draw=lambda figure, theme: draw_timeline(figure.add_subplot(), theme, video, threshold),
    )


def timelines_sheet(evaluation: Evaluation) -> Chart:
    """The same on one sheet of two columns."""
    videos = chosen_videos(evaluation.videos)
    rows, columns = -(-len(videos) // 2), min(len(videos), 2)

    def draw(figure: Any, theme: Theme) -> None:
        for place, video in enumerate(videos, 1):
            axes = figure.add_subplot(rows, columns, place)
            draw_timeline(axes, theme, video, evaluation.model.threshold_on)
            axes.set_title(shortened(f"{video.name} · {video.label}", 56), fontsize=8, loc="left", color=theme.ink)

    return Chart(
        name="timelines",
        title="Scores over time",
        caption="What is truly abnormal is shaded; the bar at the bottom is the alarm.",
        width_in=WIDTH_IN * columns,
        height_in=0.3 + 1.35 * rows,
        draw=draw,
    )


def pictures_sheet(best: Sequence[Picture], worst: Sequence[Picture]) -> Chart:
    """Localized frames on one sheet, two in a row: the best ones, then the worst ones."""
    chosen = [("best", picture) for picture in best] + [("worst", picture) for picture in worst]
    rows, columns = -(-len(chosen) // 2), min(len(chosen), 2)

    def draw(figure: Any, theme: Theme) -> None:
        for place, (kind, picture) in enumerate(chosen, 1):
            image = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            axes = figure.add_subplot(rows, columns, place)
            axes.imshow(np.asarray(image)[:, :, ::-1], interpolation="antialiased")
            axes.set_axis_off()
            where = shortened(f"{picture.video} at {picture.seconds:.1f} s", 56)
            measured = f"{kind}: IoU {picture.located.iou:.2f}, score {picture.located.score:.2f}"
            axes.set_title(f"{measured}\n{where}", fontsize=7, loc="left", color=theme.ink)

    return Chart(
        name="localization",
        title="Localization",
        caption="What is annotated on the left; heat map and boxes found on the right.",
        width_in=WIDTH_IN * columns,
        height_in=1.95 * rows,
        draw=draw,
    )


def chosen_videos(videos: Sequence[ScoredVideo]) -> list[ScoredVideo]:
    """At most a dozen: abnormal ones class by class in turn, and the normal ones with the highest scores."""
    normal = sorted((v for v in videos if v.is_normal), key=lambda v: (-float(v.judged.max()), v.name))
    normal = normal[: max(MAX_TIMELINES // 3, MAX_TIMELINES - sum(not v.is_normal for v in videos))]
    seen: dict[str, int] = {}
    turns = []
    for video in videos:
        if not video.is_normal:
            turns.append((seen.setdefault(video.label, 0), video.label, video.name, video))
            seen[video.label] += 1
    abnormal = [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])][: MAX_TIMELINES - len(normal)]
    return [*abnormal, *normal]


def draw_timeline(axes: Any, theme: Theme, video: ScoredVideo, threshold: float | None) -> None:
    """Score over time, held between samples; truth shaded, the alarm as a bar at the bottom."""
    ends = [*video.seconds[1:], video.duration_seconds]
    for anomaly in video.anomalies:
        axes.axvspan(anomaly.start_seconds, anomaly.end_seconds, color=theme.warn, alpha=0.28, lw=0)
    edges = np.append(video.seconds, video.duration_seconds)
    axes.stairs(video.judged, edges, color=theme.calm, fill=True, alpha=0.16, lw=0)
    axes.stairs(video.judged, edges, baseline=None, color=theme.calm, lw=1.1)
    if threshold is not None:
        axes.axhline(threshold, color=theme.alarm, **DASHED)
    if video.alarm is not None:
        spans = [(start, end - start) for start, end, on in zip(video.seconds, ends, video.alarm, strict=True) if on]
        axes.broken_barh(spans, (0, 0.07), facecolors=theme.alarm, lw=0)
    axes.set(xlim=(0, video.duration_seconds), ylim=(0, 1.02), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g} s")
    axes.tick_params(labelsize=7)


def _ranking_charts(evaluation: Evaluation, what: str) -> Iterator[Chart]:
    lookahead = 0 if evaluation.streaming else None
    together = frames_together if what == "frames" else videos_together
    labels, scores = together(evaluation.videos, lookahead)
    threshold = evaluation.model.threshold_on
    yield Chart(
        name="roc",
        title="ROC",
        caption=f"Share of abnormal {what} found against share of normal {what} reported, over all thresholds.",
        height_in=3.6,
        draw=lambda figure, theme: _draw_roc(figure, theme, labels, scores, threshold, what),
    )
    yield Chart(
        name="precision-recall",
        title="Precision and recall",
        caption=f"How many reported {what} are abnormal against share of abnormal {what} found.",
        height_in=3.6,
        draw=lambda figure, theme: _draw_precision_recall(figure, theme, labels, scores, what),
    )


def _draw_roc(
    figure: Any,
    theme: Theme,
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    threshold: float | None,
    what: str,
) -> None:
    axes, curve = figure.add_subplot(), metrics.roc(labels, scores)
    rows = _thinned(len(curve.thresholds))
    false, true = curve.false_positive_rate[rows], curve.true_positive_rate[rows]
    axes.plot([0, 1], [0, 1], color=theme.dim, **DOTTED)
    axes.fill_between(false, true, color=theme.calm, alpha=0.12, lw=0)
    axes.plot(false, true, color=theme.calm, lw=1.8, label=f"AUC {metrics.auc(labels, scores):.3f}")
    if threshold is not None:
        over = scores >= threshold
        place = float(over[~labels].mean()), float(over[labels].mean())
        axes.plot(*place, "D", color=theme.alarm, ms=6, ls="", label=f"alarm at {threshold:.2f}", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"normal {what} reported", ylabel=f"abnormal {what} found")
    percent(axes.xaxis, axes.yaxis)
    axes.legend(loc="lower right")


def _draw_precision_recall(
    figure: Any, theme: Theme, labels: NDArray[np.bool_], scores: NDArray[np.float64], what: str
) -> None:
    axes = figure.add_subplot()
    precision, recall, _ = metrics.precision_recall(labels, scores)
    rows = _thinned(len(recall))
    share = float(labels.mean())
    axes.axhline(share, color=theme.dim, **DOTTED, label=f"by chance {share:.3f}")
    axes.fill_between(recall[rows], precision[rows], color=theme.calm, alpha=0.12, lw=0, step="post")
    label = f"AP {metrics.average_precision(labels, scores):.3f}"
    axes.plot(recall[rows], precision[rows], color=theme.calm, lw=1.8, drawstyle="steps-post", label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=f"abnormal {what} found", ylabel=f"reported {what} that are abnormal")
    percent(axes.xaxis, axes.yaxis)
    axes.legend(loc="best")


def _draw_lookahead(figure: Any, theme: Theme, evaluation: Evaluation) -> None:
    axes, points = figure.add_subplot(), evaluation.figures.lookahead
    places, aucs = np.arange(len(points)), np.array([point.auc for point in points], np.float64)
    axes.plot(places, aucs, "o-", color=theme.calm, lw=1.8, ms=4.5)
    axes.plot(places[:1], aucs[:1], "D", color=theme.alarm, ms=7, label="what the runtime does")
    low, high = float(aucs.min()), float(aucs.max())
    margin = max((high - low) * 0.25, 0.005)
    axes.set(ylim=(max(low - margin, 0), min(high + margin * 1.6, 1.0)), ylabel="AUC", xticks=places)
    axes.set_xticklabels(
        [f"{'all' if p.lookahead is None else p.lookahead}\n{p.delay_seconds:.3g} s" for p in points], fontsize=8
    )
    axes.set_xlabel("later sampled frames, and seconds until a score is known")
    axes.legend(loc="best")


def _alarm_chart(alarm: AlarmFigures) -> Chart:
    """What there is of: detected anomalies, time to the alarm, false alarms; against each other or the threshold."""
    x_name = "false_alarms_per_hour" if alarm.normal_hours > 0 and alarm.anomalies else "threshold_on"
    panels = ["detected_share"] if alarm.anomalies else ["false_alarms_per_hour"]
    panels += ["median_seconds"] if alarm.timed else []
    shown = " and ".join(_AXES[panel] for panel in panels)
    shown = shown[0].upper() + shown[1:]
    return Chart(
        name="alarms",
        title="Time to alarm against false alarms" if len(panels) == 2 else "Alarms",
        caption=f"{shown} against {_AXES[x_name]}, over the thresholds of the alarm.",
        height_in=4.4 if len(panels) == 2 else 3.2,
        draw=lambda figure, theme: _draw_alarms(figure, theme, alarm, x_name, panels),
    )


def _draw_alarms(figure: Any, theme: Theme, alarm: AlarmFigures, x_name: str, names: Sequence[str]) -> None:
    rates = x_name == "false_alarms_per_hour"
    points = frontier(alarm.curve) if rates else list(alarm.curve)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        _draw_panel(axes, theme, points, x_name, name)
        _mark_points(axes, theme, alarm, x_name, name)
        axes.set_ylim(bottom=0)  # after all is drawn, so that the top still follows it
        if name == "detected_share":
            axes.set_ylim(0, 1.04)
            percent(axes.yaxis)
        axes.set_ylabel(_AXES[name].partition(" of ")[0])
    if rates:  # the low rates are those that anyone can live with
        linear = max(1 / alarm.normal_hours, ALARM_BUDGET)
        panels[-1].set_xscale("symlog", linthresh=linear, linscale=0.6)
        most = max([point.false_alarms_per_hour or 0.0 for point in (*points, alarm.own)] + [ALARM_BUDGET])
        panels[-1].set_xticks([0, *(rate for rate in (ALARM_BUDGET, *_RATES) if linear / 5 < rate < most)])
        panels[-1].minorticks_off()
        panels[-1].set_xlim(0, most * 1.05)
        panels[-1].xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
        for axes in panels:
            axes.axvline(ALARM_BUDGET, color=theme.dim, **DOTTED)
    panels[0].legend(loc="best")
    hours = f" ({alarm.normal_hours:.2g} h)" if rates else ""
    panels[-1].set_xlabel(_AXES[x_name] + hours)


def _draw_panel(axes: Any, theme: Theme, points: Sequence[OperatingPoint], x_name: str, name: str) -> None:
    x, y = as_columns(points, x_name), as_columns(points, name)
    y[~np.isfinite(y)] = np.nan
    axes.plot(x, y, "-", color=theme.calm, lw=1.6, marker=".", ms=4)
    if name == "median_seconds":
        low, high = as_columns(points, "lower_quartile_seconds"), as_columns(points, "upper_quartile_seconds")
        both = np.isfinite(low) & np.isfinite(high)
        axes.fill_between(x[both], low[both], high[both], color=theme.calm, alpha=0.14, lw=0, label="quartiles")


def _mark_points(axes: Any, theme: Theme, alarm: AlarmFigures, x_name: str, name: str) -> None:
    """The bundle's own threshold and the best one, where they are finite."""
    marks = [(alarm.own, "D", theme.alarm, f"the bundle's, {alarm.own.threshold_on:.2f}")]
    if alarm.best is not None:
        label = f"best with ≤ {ALARM_BUDGET:g} per hour, {alarm.best.threshold_on:.2f}"
        marks.append((alarm.best, "*", theme.good, label))
    for point, style, colour, label in marks:
        place = as_columns([point], x_name)[0], as_columns([point], name)[0]
        if all(map(math.isfinite, place)):
            axes.plot(*place, style, color=colour, ms=8, ls="", label=label, clip_on=False, zorder=5)


def _draw_classes(figure: Any, theme: Theme, evaluation: Evaluation) -> None:
    axes = figure.add_subplot()
    names, values = list(evaluation.figures.classes), list(evaluation.figures.classes.values())
    axes.barh(range(len(names)), values, height=0.62, color=theme.calm, alpha=0.85)
    for place, value in enumerate(values):
        axes.text(value + 0.01, place, f"{value:.3f}", va="center", fontsize=8, color=theme.ink)
    axes.axvline(0.5, color=theme.dim, **DOTTED)
    axes.set(xlim=(0, 1.1), xlabel="frame AUC against normal frames", xticks=np.linspace(0, 1, 6))
    named_rows(axes, names, length=28, size=8)


def _thinned(count: int) -> NDArray[np.int64]:
    """Rows of a long curve, ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, _MAX_CURVE_POINTS)).round().astype(np.int64))
