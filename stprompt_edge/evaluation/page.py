"""evaluation.html: everything on one page, in one file that needs nothing else, not even a script.

Charts are there twice, for light and dark. Every text from outside passes `_text`.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import itertools
import string
from collections.abc import Iterable, Iterator, Sequence

from stprompt_edge import __version__
from stprompt_edge.evaluation import wording
from stprompt_edge.evaluation.charts import charts_of, timelines_of
from stprompt_edge.evaluation.pictures import choose_pictures
from stprompt_edge.evaluation.records import AlarmFigures, Evaluation, LookaheadPoint, Picture, ScoredVideo
from stprompt_edge.reports.theme import DARK, LIGHT, Chart
from stprompt_edge.runtime.drawing import clock
from stprompt_edge.runtime.recording.report import page_part

_TILES = 6  # in a row
_MAX_ROWS = 500  # of the table of videos; metrics.json has all


def page_html(evaluation: Evaluation) -> str:
    """The whole page. Raises EnvironmentFailure where matplotlib is missing."""
    template = importlib.resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    model, dataset = evaluation.model, evaluation.dataset
    name = model.path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return string.Template(template).substitute(
        style=page_part("house.css"),
        title=_text(f"{name} on {dataset.name}, {dataset.split}"),
        made_by=_text(f"stprompt-edge {__version__}"),
        verdict=_verdict(evaluation),
        tiles="".join(
            f'<div class="tile"><span>{_text(one.label)}</span><b>{_text(one.value)}</b>'
            f"<small>{_text(one.note)}</small></div>"
            for one in itertools.islice(wording.headlines(evaluation), _TILES)
        ),
        notes=_notes(evaluation.notes),
        sections="".join(_sections(evaluation)),
        facts="".join(_facts(evaluation)),
    )


def _verdict(evaluation: Evaluation) -> str:
    if evaluation.streaming:
        how = "Frame by frame through the runtime that ships: no score knows more than a camera would have shown."
        return f'<p><span class="pill calm">streaming</span> {how}</p>'
    how = "Whole videos at once, as papers report: each score has seen all later frames."
    return f'<p><span class="pill quiet">offline</span> {how}</p>'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{_text(note)}</li>" for note in notes)
    return f'<section class="warnings"><h2>To know</h2><ul>{items}</ul></section>'


def _sections(evaluation: Evaluation) -> Iterator[str]:
    charts = {chart.name: chart for chart in charts_of(evaluation)}
    figures = evaluation.figures
    if "roc" in charts:
        both = _figure(charts["roc"]) + _figure(charts["precision-recall"])
        yield f'<section><h2>Abnormal from normal</h2><div class="two">{both}</div></section>'
    if figures.alarm is not None:
        both = _figure(charts["alarms"]) + f"<div>{''.join(_marked_points(figures.alarm))}</div>"
        table = _alarm_table(figures.alarm)
        yield f'<section><h2>Alarms</h2><div class="two">{both}</div><div class="table">{table}</div></section>'
    if figures.lookahead and "lookahead" in charts:
        table = _lookahead_table(figures.lookahead)
        chart = _figure(charts["lookahead"])
        yield f'<section><h2>What waiting brings</h2><div class="two">{chart}<div>{table}</div></div></section>'
    if len(figures.classes) > 1:
        bars = "".join(
            f'<li><span>{_text(name)}</span><i><u style="width:{auc:.1%}"></u></i><b>{auc:.3f}</b></li>'
            for name, auc in figures.classes.items()
        )
        note = '<p class="dim">Frame AUC of the videos of a class together with all normal videos; 0.5 is chance.</p>'
        yield f'<section><h2>Classes</h2>{note}<ul class="bars">{bars}</ul></section>'
    yield _pictures_section(evaluation)
    yield _timelines_section(evaluation)
    yield _videos_section(evaluation)


def _figure(chart: Chart) -> str:
    return (
        f'<figure class="chart"><h3>{_text(chart.title)}</h3>{_themed(chart)}'
        f"<figcaption>{_text(chart.caption)}</figcaption></figure>"
    )


def _themed(chart: Chart) -> str:
    """One picture for light, one for dark; both without a background, so that a print is right as well."""
    light, dark = (_data("png", chart.png(theme, transparent=True)) for theme in (LIGHT, DARK))
    dark_source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    alt = _text(f"{chart.title}. {chart.caption}")
    return f'<picture>{dark_source}<img alt="{alt}" src="{light}"></picture>'


def _marked_points(alarm: AlarmFigures) -> Iterator[str]:
    """The bundle's own threshold and the best one, figure by figure."""
    for name, point in wording.marked_points(alarm):
        entries = zip(wording.POINT_COLUMNS, wording.point_cells(point), strict=True)
        rows = "".join(f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in entries)
        yield f'<div class="point"><h3>{_text(name[0].upper() + name[1:])}</h3><dl>{rows}</dl></div>'


def _alarm_table(alarm: AlarmFigures) -> str:
    rows = [f"<tr>{_cells(wording.point_cells(point))}</tr>" for point in wording.listed_points(alarm)]
    return _table(wording.POINT_COLUMNS, rows, numbers_from=0)


def _lookahead_table(points: Sequence[LookaheadPoint]) -> str:
    rows = [
        f"<tr{' class=mark' if point.lookahead == 0 else ''}><td>{wording.lookahead_name(point.lookahead)}</td>"
        + _cells(
            (
                f"{point.delay_seconds:.2f} s",
                wording.number(point.auc),
                wording.number(point.ap),
                wording.seconds(point.median_seconds_to_alarm),
            )
        )
        + "</tr>"
        for point in points
    ]
    return _table(("lookahead", "known after", "AUC", "AP", "median time to alarm"), rows)


def _pictures_section(evaluation: Evaluation) -> str:
    pictures = [picture for video in evaluation.videos for picture in video.pictures]
    if not pictures:
        return ""
    best, worst = choose_pictures(pictures)
    found = evaluation.figures.localization
    assert found is not None  # there are pictures of it
    what = f"TIoU {found.tiou:.3f}; mean IoU of all annotated frames, whatever their score, {found.mean_iou:.3f}. "
    note = f'<p class="dim">{what}Left: what is annotated, in green. Right: heat map and the boxes found.</p>'
    groups = "".join(
        f'<h3>{title}</h3><div class="shots">{"".join(map(_shot, shown))}</div>'
        for title, shown in (("Found best", best), ("Found worst", worst))
        if shown
    )
    return f"<section><h2>Where in the frame</h2>{note}<br>{groups}</section>"


def _shot(picture: Picture) -> str:
    found = picture.located
    where = f"{picture.label} · {picture.video} at {clock(picture.seconds)}"
    caption = f"IoU {found.iou:.2f}, score {found.score:.2f} · {where}"
    return (
        f'<figure><img alt="{_text(caption)}" src="{_data("jpeg", picture.jpeg)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _timelines_section(evaluation: Evaluation) -> str:
    labels = {video.name: video.label for video in evaluation.videos}
    charts = timelines_of(evaluation)
    shown = "".join(
        f'<figure class="chart"><h3>{_text(labels[chart.title])} <small>{_text(chart.title)}</small></h3>'
        f"{_themed(chart)}</figure>"
        for chart in charts
    )
    key = '<p class="key"><i style="background:var(--warn-soft);border:1px solid var(--warn)"></i> truly abnormal'
    if evaluation.streaming:
        key += '<i style="background:var(--alarm)"></i> alarm on'
    total = len(evaluation.videos)
    more = "" if len(charts) == total else f" Shown are {len(charts)} of {total} videos."
    return f'<section><h2>Scores over time</h2>{key}.{more}</p><div class="two">{shown}</div></section>'


def _videos_section(evaluation: Evaluation) -> str:
    rows = [_video_row(video) for video in evaluation.videos[:_MAX_ROWS]]
    more = f'<p class="dim">The first {_MAX_ROWS}; metrics.json has all.</p>'
    more = more if len(evaluation.videos) > _MAX_ROWS else ""
    table = _table(("video", "label", "length", "highest score", "alarm on", "mean IoU"), rows, numbers_from=2)
    skipped = "".join(f"<li>{_text(name)}: {_text(reason)}</li>" for name, reason in evaluation.skipped)
    left_out = f'<h3 class="table">Skipped</h3><ul>{skipped}</ul>' if skipped else ""
    return (
        f"<section><h2>Videos</h2><details><summary>{len(evaluation.videos)} videos</summary>{more}{table}</details>"
        f"{left_out}</section>"
    )


def _video_row(video: ScoredVideo) -> str:
    ious = [one.iou for one in video.located]
    cells = (
        clock(video.duration_seconds),
        f"{video.judged.max():.3f}",
        wording.NOTHING if video.alarm is None else wording.share(float(video.alarm.mean())),
        f"{sum(ious) / len(ious):.3f}" if ious else wording.NOTHING,
    )
    return f"<tr><td>{_text(video.name)}</td><td>{_text(video.label)}</td>{_cells(cells)}</tr>"


def _strides(evaluation: Evaluation) -> str:
    strides = sorted({video.stride for video in evaluation.videos})
    return f"{strides[0]}" if len(strides) == 1 else f"{strides[0]} to {strides[-1]}"


def _facts(evaluation: Evaluation) -> Iterator[str]:
    model, dataset = evaluation.model, evaluation.dataset
    groups: list[tuple[str, Iterable[tuple[str, str]]]] = [
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
    for title, entries in groups:
        rows = "".join(f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in entries)
        yield f'<div class="facts"><h3>{title}</h3><dl>{rows}</dl></div>'


def _table(columns: Sequence[str], rows: Sequence[str], *, numbers_from: int = 1) -> str:
    head = "".join(
        f"<th{' class=n' if place >= numbers_from else ''}>{_text(name)}</th>" for place, name in enumerate(columns)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cells(values: Iterable[str]) -> str:
    return "".join(f'<td class="n">{_text(value)}</td>' for value in values)


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)
