"""Writes a rendered data set: videos, one label each, and the exact boxes of every abnormal frame.

DIR/train/*.mp4  DIR/test/*.mp4
DIR/labels.csv         video,label,split
DIR/annotations.json   per video: camera, size, fps, frames, abnormal intervals and boxes (see `annotation`)
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demo.scenes.plan import DatasetSpec, PlannedVideo, plan
from demo.scenes.scene import FPS, Box, render_video
from demo.scenes.video_file import write_video
from stprompt_edge.errors import UsageError
from stprompt_edge.files import disk_errors, write_text_atomic
from stprompt_edge.processes import StopFlag, in_processes

SCHEMA = 1
LABELS, ANNOTATIONS = "labels.csv", "annotations.json"


def render_dataset(
    out: Path,
    seed: int,
    train: int = 60,
    test: int = 40,
    *,
    seconds: tuple[float, float] = (20.0, 60.0),
    fps: int = FPS,
    size_wh: tuple[int, int] = (320, 180),
    workers: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[PlannedVideo]:
    """Renders a data set into out, which is made if need be; labels.csv is written last and says that it is complete.

    Args:
        seed: the same seed and sizes give the same videos, to the byte with the same x264.
        train, test: videos per split; about half of each are normal, and no camera is in both.
        seconds: shortest and longest video.
        workers: processes that render at the same time.
        progress: called with (finished, all, name) after each video.

    Raises:
        UsageError: a size that cannot be, or out holds a finished data set.
        EnvironmentFailure: the disk is full, or PyAV has no H.264 encoder.
    """
    if (out / LABELS).exists():
        raise UsageError(f"{out / LABELS} exists already", remedy="choose an empty folder, or remove the old data set")
    videos = plan(DatasetSpec(seed=seed, train=train, test=test, seconds=seconds, fps=fps, size_wh=size_wh))
    for split in {video.split for video in videos}:
        with disk_errors(out / split):
            (out / split).mkdir(parents=True, exist_ok=True)
    annotations: dict[str, Any] = {video.name: None for video in videos}  # in this order, whichever ends first
    rendered = in_processes(videos, partial(_open_worker, out), workers, name="rendering", remedy="use fewer workers")
    for finished, (video, annotated) in enumerate(rendered, start=1):
        annotations[video.name] = annotated
        if progress is not None:
            progress(finished, len(videos), video.name)
    header = {"schema": SCHEMA, "seed": seed, "videos": annotations}
    write_text_atomic(out / ANNOTATIONS, json.dumps(header, separators=(",", ":")) + "\n")
    write_text_atomic(out / LABELS, _labels(videos))
    return videos


def _open_worker(out: Path, stop: StopFlag) -> Callable[[PlannedVideo], dict[str, Any]]:
    return partial(render_file, out)


def render_file(out: Path, video: PlannedVideo) -> dict[str, Any]:
    """Writes one video below out and returns its annotation."""
    boxes: list[tuple[Box, ...]] = []

    def images() -> Iterator[np.ndarray]:
        for frame in render_video(video.spec):
            boxes.append(frame.boxes)
            yield frame.image_bgr

    spec = video.spec
    write_video(images(), out / video.name, fps=spec.fps, size_wh=spec.size_wh, crf=video.crf)
    return annotation(video, boxes)


def annotation(video: PlannedVideo, boxes: Sequence[tuple[Box, ...]]) -> dict[str, Any]:
    """What annotations.json says of a video.

    Args:
        boxes: for every frame the boxes (x0, y0, x1, y1) of what is abnormal, pixels, x1 and y1 exclusive.

    Returns:
        intervals: [first, last + 1) of each run of abnormal frames; boxes: those of each abnormal frame, by its number.
    """
    abnormal = np.flatnonzero(np.diff([False, *(bool(shown) for shown in boxes), False])).tolist()
    spec = video.spec
    return {
        "split": video.split,
        "label": spec.anomaly,
        "camera": video.camera,
        "scene": spec.scene,
        "scene_seed": spec.scene_seed,
        "fps": spec.fps,
        "frames": len(boxes),
        "size_wh": list(spec.size_wh),
        "intervals": [list(pair) for pair in zip(abnormal[::2], abnormal[1::2], strict=True)],
        "boxes": {str(frame): [list(box) for box in shown] for frame, shown in enumerate(boxes) if shown},
    }


def _labels(videos: Sequence[PlannedVideo]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("video", "label", "split"))
    writer.writerows((video.name, video.spec.anomaly, video.split) for video in videos)
    return table.getvalue()
