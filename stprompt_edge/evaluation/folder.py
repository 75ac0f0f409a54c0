"""The output folder of an evaluation: metrics.json, scores, charts, and a page if asked for. All of them or none."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stprompt_edge import __version__
from stprompt_edge.errors import UsageError
from stprompt_edge.evaluation import metrics
from stprompt_edge.evaluation.charts import charts_of, pictures_sheet, timelines_sheet
from stprompt_edge.evaluation.page import page_html
from stprompt_edge.evaluation.pictures import choose_pictures
from stprompt_edge.evaluation.records import Evaluation, ScoredVideo
from stprompt_edge.evaluation.wording import printable
from stprompt_edge.files import PARTIAL_SUFFIX, PartialFile, disk_errors, publish_all
from stprompt_edge.overwriting import Input, check_outputs
from stprompt_edge.reports.theme import LIGHT
from stprompt_edge.runtime.recording.plain_json import json_text

SCHEMA = 1
KIND = "stprompt-edge evaluation"
METRICS_NAME, PAGE_NAME, SCORES_FOLDER = "metrics.json", "evaluation.html", "scores"
_NAME_BYTES = 200  # of a video's name in a path: file systems take 255, and a number and suffixes follow
_READING = (
    "null is what the data set does not allow or what was not asked for; a time to alarm that is null beside a "
    "missed_share is infinite: too many anomalies were missed. lookahead null is all later frames."
)


def check_out(out: Path, inputs: Iterable[Input] = ()) -> None:
    """Refuse an output place that is not free and not an earlier evaluation, or where an input would be lost.

    Args:
        out: folder to be.
        inputs: what the evaluation reads.

    Raises:
        UsageError: a file, or a folder with something else in it, or that has an input in the place of an output.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"the output folder {out} is a file", remedy="name a folder, or a path that is free")
    with disk_errors(out):
        empty = not any(out.iterdir())
    if not empty and _earlier_files(out) is None:
        raise UsageError(f"{out} exists and is no evaluation", remedy="choose another --out, or remove it yourself")
    check_outputs(inputs, files=_may_be_written(out), folder=out)


def _may_be_written(out: Path) -> Iterator[Path]:
    """What is there and may be replaced or removed, whatever the figures will be."""
    yield from (out / METRICS_NAME, out / PAGE_NAME, *(out / name for name in _earlier_files(out) or ()))
    yield from out.glob("*.png")
    yield from out.glob(f"*{PARTIAL_SUFFIX}")
    yield from (out / SCORES_FOLDER).rglob("*")


def write_evaluation(evaluation: Evaluation, out: Path, *, html: bool = False) -> tuple[Path, ...]:
    """Write everything into a folder, over an earlier evaluation; what that one had more is removed.

    Args:
        evaluation: to write.
        out: folder, made if need be.
        html: also write the page.

    Returns:
        The files, metrics.json first.

    Raises:
        UsageError: as `check_out`, or the place cannot be written.
        EnvironmentFailure: the disk is full, or matplotlib is missing; what was there before stays.
    """
    check_out(out)
    earlier = _earlier_files(out) or ()
    contents = dict(_contents(evaluation, html=html))
    contents[METRICS_NAME] = (json_text(to_dict(evaluation, files=sorted(contents)), indent=1) + "\n").encode("utf-8")
    parts: list[PartialFile] = []
    try:
        for name, content in contents.items():
            target = out / name
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                parts.append(PartialFile(target))
                parts[-1].discard()  # what a killed run left; never write through a link
                parts[-1].path.write_bytes(content)
        publish_all(parts)
    except BaseException:
        for part in parts:
            part.discard()
        raise
    for name in set(earlier) - set(contents):
        with disk_errors(out / name):
            (out / name).unlink(missing_ok=True)
    return (out / METRICS_NAME, *(out / name for name in contents if name != METRICS_NAME))


def to_dict(evaluation: Evaluation, files: list[str] | None = None) -> dict[str, Any]:
    """What metrics.json holds: every figure, what it was measured on, and a row for each video; no stamps of time."""
    evaluation = printable(evaluation)
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "created_by": f"stprompt-edge {__version__}",
        "reading": _READING,
        "streaming": evaluation.streaming,
        "model": evaluation.model,
        "dataset": evaluation.dataset,
        "figures": evaluation.figures,
        "videos": [_video_row(video) for video in evaluation.videos],
        "skipped": [{"name": name, "reason": reason} for name, reason in evaluation.skipped],
        "notes": evaluation.notes,
        "files": files or [],
    }


def _contents(evaluation: Evaluation, *, html: bool) -> Iterator[tuple[str, bytes]]:
    names: set[str] = set()
    for video in evaluation.videos:
        yield _scores_name(video.name, names), _scores_csv(video)
    evaluation = printable(evaluation)
    for chart in charts_of(evaluation):
        yield f"{chart.name}.png", chart.png(LIGHT)
    sheet = timelines_sheet(evaluation)
    yield f"{sheet.name}.png", sheet.png(LIGHT)
    pictures = [picture for video in evaluation.videos for picture in video.pictures]
    if pictures:
        yield "localization.png", pictures_sheet(*choose_pictures(pictures)).png(LIGHT)
    if html:
        yield PAGE_NAME, page_html(evaluation).encode("utf-8")


def _video_row(video: ScoredVideo) -> dict[str, Any]:
    ious, scores = [one.iou for one in video.located], [one.score for one in video.located]
    return {
        "name": video.name,
        "label": video.label,
        "camera_frames": video.frame_count,
        "stride": video.stride,
        "seconds": video.duration_seconds,
        "abnormal_frames": None if video.labels is None else int(video.labels.sum()),
        "anomalies": video.anomalies,
        "highest_score": float(video.judged.max()),
        "alarm_share": None if video.alarm is None else float(video.alarm.mean()),
        "tiou": metrics.video_tiou(ious, scores) if ious else None,
        "mean_iou": float(np.mean(ious)) if ious else None,
        "warnings": video.warnings,
    }


def _scores_csv(video: ScoredVideo) -> bytes:
    """One row per sampled frame: the judged score, the others by lookahead, the alarm and the truth."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    others = [lookahead for lookahead in video.scores if lookahead is not None and lookahead > 0]
    others += [None] if len(video.scores) > 1 else []  # type: ignore[list-item]
    columns = ["score", *(f"score_lookahead_{'all' if one is None else one}" for one in others)]
    columns += ["alarm"] if video.alarm is not None else []
    columns += ["abnormal"] if video.labels is not None else []
    writer.writerow(["frame", "seconds", *columns])
    for row, seconds in enumerate(video.seconds.tolist()):
        frame = row * video.stride
        cells = [f"{video.judged[row]:.6f}", *(f"{video.scores[one][row]:.6f}" for one in others)]
        cells += [str(int(video.alarm[row]))] if video.alarm is not None else []
        cells += [str(int(video.labels[frame]))] if video.labels is not None else []
        writer.writerow([frame, f"{seconds:.3f}", *cells])
    return table.getvalue().encode("utf-8")


def _scores_name(video: str, taken: set[str]) -> str:
    """A path below scores/ that is like the video's name, and no other video's."""
    parts = [part for part in PurePosixPath(video.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    parts = ["".join(c if c.isprintable() and c not in ':*?"<>|' else "_" for c in part) for part in parts]
    parts = [part.encode("utf-8")[-_NAME_BYTES:].decode("utf-8", "ignore") for part in parts]
    name = base = "/".join([SCORES_FOLDER, *parts])
    number = 2
    while name.casefold() in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name.casefold())
    return f"{name}.csv"


def _earlier_files(out: Path) -> tuple[str, ...] | None:
    """What an earlier evaluation wrote into the folder; None if there was none."""
    try:
        earlier = json.loads((out / METRICS_NAME).read_text(encoding="utf-8"))
        if earlier["kind"] != KIND:
            return None
        names = [PurePosixPath(str(name)) for name in earlier["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tuple(str(name) for name in names if not name.is_absolute() and ".." not in name.parts)
