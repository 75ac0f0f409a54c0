"""evaluation.html: everything on one page, in one file that needs nothing else, not even a script.

`page.html` beside this file is its template; here is gathered what it shows.
"""

from __future__ import annotations

import itertools
from typing import Any

from stprompt_edge import __version__
from stprompt_edge.evaluation import wording
from stprompt_edge.evaluation.charts import charts_of, timelines_of
from stprompt_edge.evaluation.pictures import choose_pictures
from stprompt_edge.evaluation.records import AlarmFigures, Evaluation, LookaheadPoint, Picture, ScoredVideo
from stprompt_edge.reports.page import render
from stprompt_edge.runtime.drawing import clock

_TILES = 6  # in a row
_MAX_ROWS = 500  # of the table of videos; metrics.json has all
_STREAMING = "Frame by frame through the runtime that ships: no score knows more than a camera would have shown."
_OFFLINE = "Whole videos at once, as papers report: each score has seen all later frames."


def page_html(evaluation: Evaluation) -> str:
    """The whole page. Raises EnvironmentFailure where matplotlib is missing."""
    model, dataset, videos = evaluation.model, evaluation.dataset, evaluation.videos
    name = model.path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    labels = {video.name: video.label for video in videos}
    headlines = itertools.islice(wording.headlines(evaluation), _TILES)
    return render(
        "evaluation/page.html",
        title=f"{name} on {dataset.name}, {dataset.split}",
        made=f"stprompt-edge {__version__}",
        streaming=evaluation.streaming,
        pills=[("calm", "streaming") if evaluation.streaming else ("quiet", "offline")],
        verdict=_STREAMING if evaluation.streaming else _OFFLINE,
        tiles=[(one.label, one.value, one.note) for one in headlines],
        notes=evaluation.notes,
        charts={chart.name: chart for chart in charts_of(evaluation)},
        lookaheads=[_lookahead_row(point) for point in evaluation.figures.lookahead],
        classes=[(name, auc, f"{auc:.3f}") for name, auc in evaluation.figures.classes.items()],
        timelines=[(labels[chart.title], chart) for chart in timelines_of(evaluation)],
        videos=len(videos),
        video_rows=[_video_row(video) for video in videos[:_MAX_ROWS]],
        skipped=evaluation.skipped,
        facts=_facts(evaluation),
        **_alarm(evaluation.figures.alarm),
        **_located(evaluation),
    )


def _alarm(alarm: AlarmFigures | None) -> dict[str, Any]:
    """A few thresholds; the bundle's own and the best one figure by figure."""
    if alarm is None:
        return {}
    marked = [
        (name[0].upper() + name[1:], zip(wording.POINT_COLUMNS, wording.point_cells(point), strict=True))
        for name, point in wording.marked_points(alarm)
    ]
    points = [wording.point_cells(point) for point in wording.listed_points(alarm)]
    return {"marked_points": marked, "points": points, "point_columns": wording.POINT_COLUMNS}


def _lookahead_row(point: LookaheadPoint) -> tuple[str, ...]:
    return (
        wording.lookahead_name(point.lookahead),
        f"{point.delay_seconds:.2f} s",
        wording.number(point.auc),
        wording.number(point.ap),
        wording.seconds(point.median_seconds_to_alarm),
    )


def _located(evaluation: Evaluation) -> dict[str, Any]:
    best, worst = choose_pictures([picture for video in evaluation.videos for picture in video.pictures])
    found = evaluation.figures.localization
    if found is None or not best:
        return {"located": ""}
    what = f"TIoU {found.tiou:.3f}; mean IoU of all annotated frames, whatever their score, {found.mean_iou:.3f}."
    shots = [("Found best", [_shot(one) for one in best]), ("Found worst", [_shot(one) for one in worst])]
    return {"located": what, "shots": shots}


def _shot(picture: Picture) -> tuple[bytes, str]:
    found = picture.located
    where = f"{picture.label} · {picture.video} at {clock(picture.seconds)}"
    return picture.jpeg, f"IoU {found.iou:.2f}, score {found.score:.2f} · {where}"


def _video_row(video: ScoredVideo) -> tuple[str, ...]:
    ious = [one.iou for one in video.located]
    return (
        video.name,
        video.label,
        clock(video.duration_seconds),
        f"{video.judged.max():.3f}",
        wording.NOTHING if video.alarm is None else wording.share(float(video.alarm.mean())),
        f"{sum(ious) / len(ious):.3f}" if ious else wording.NOTHING,
    )


def _strides(evaluation: Evaluation) -> str:
    strides = sorted({video.stride for video in evaluation.videos})
    return f"{strides[0]}" if len(strides) == 1 else f"{strides[0]} to {strides[-1]}"


def _facts(evaluation: Evaluation) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    model, dataset = evaluation.model, evaluation.dataset
    return [
        (
            "Data set",
            (
                ("Name", f"{dataset.name}, {dataset.split}"),
                ("Videos", f"{dataset.abnormal_videos} abnormal, {dataset.normal_videos} normal"),
                ("Frames", f"{dataset.camera_frames:,}, one of every {_strides(evaluation)} scored"),
                ("Spacing", f"{dataset.seconds_between_samples:.3g} s between scored frames"),
            ),
        ),
        (
            "Scored by",
            (("Backend", model.backend), ("Kind", model.kind), ("sha256", model.sha256)),
        ),
        ("Model", tuple(model.description.items())),
    ]
