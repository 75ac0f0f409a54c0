"""Scored videos by hand, one sampled frame a second; and a data set of small files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stprompt_edge.evaluation.figures import offline_figures, streaming_figures
from stprompt_edge.evaluation.records import (
    Anomaly,
    DatasetFacts,
    Evaluation,
    Figures,
    LocatedFrame,
    ModelFacts,
    ScoredVideo,
)
from tests import videos
from tests.runtime.tiny import tiny_bundle


def scored(
    name: str,
    scores: Sequence[float],
    label: str = "normal",
    *,
    abnormal: Sequence[tuple[int, int]] | None = (),
    stride: int = 1,
    others: Mapping[int | None, Sequence[float]] | None = None,
    alarm: Sequence[bool] | None = None,
    **changes: Any,
) -> ScoredVideo:
    """A video of len(scores) * stride frames at `stride` frames a second; `abnormal` frame ranges, None for unknown."""
    frames = len(scores) * stride
    labels = None
    if abnormal is not None:
        labels = np.zeros(frames, bool)
        for first, last in abnormal:
            labels[first:last] = True
    by_lookahead: dict[int | None, Any] = {None: scores} if others is None else {0: scores, **others}
    values: dict[str, Any] = {
        "name": name,
        "label": label,
        "stride": stride,
        "fps": float(stride),
        "frame_count": frames,
        "seconds": np.arange(len(scores), dtype=float),
        "duration_seconds": float(len(scores)),
        "scores": {key: np.asarray(value, float) for key, value in by_lookahead.items()},
        "alarm": None if alarm is None else np.asarray(alarm, bool),
        "labels": labels,
        "anomalies": tuple(
            Anomaly(start_seconds=first / stride, end_seconds=last / stride) for first, last in abnormal or ()
        ),
    }
    return ScoredVideo(**{**values, **changes})


def located(iou: float, score: float = 0.9, frame: int = 0, true_share: float = 0.1) -> LocatedFrame:
    """An annotated frame."""
    return LocatedFrame(frame=frame, score=score, iou=iou, true_share=true_share)


def evaluation(videos: Sequence[ScoredVideo], *, streaming: bool = True, **changes: Any) -> Evaluation:
    """The figures of these videos, with a tiny bundle's alarm (on at 0.5, off at 0.4; motion causal)."""
    manifest = tiny_bundle(motion_timing="causal").manifest
    figures: Figures = (
        streaming_figures(videos, manifest.method, manifest.alarm, "boxes") if streaming else offline_figures(videos)
    )
    normal = sum(video.is_normal for video in videos)
    values: dict[str, Any] = {
        "streaming": streaming,
        "model": ModelFacts(
            kind="bundle", path="models/tiny", sha256="0" * 64, method="stprompt", backend="fake", stride=1,
            threshold_on=0.5 if streaming else None, description={"made by": "tests"},
        ),
        "dataset": DatasetFacts(
            name="hand-made", split="test", normal_videos=normal, abnormal_videos=len(videos) - normal,
            camera_frames=sum(video.frame_count for video in videos),
            sampled_frames=sum(len(video.seconds) for video in videos), hours=0.01, seconds_between_samples=1.0,
        ),
        "figures": figures,
        "videos": tuple(videos),
        "skipped": (),
        "notes": (),
    }  # fmt: skip
    return Evaluation(**{**values, **changes})


def small_set(streaming: bool = True) -> list[ScoredVideo]:
    """Two normal videos and two classes of abnormal ones, scored well but not perfectly."""
    more: dict[str, Any] = {"others": {1: [0.3] * 10, None: [0.4] * 10}} if streaming else {}
    low, ramp = [0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.2, 0.1, 0.1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 0.8, 0.3, 0.2, 0.1]

    def alarm(scores: list[float]) -> dict[str, Any]:
        return {"alarm": [score >= 0.5 for score in scores]} if streaming else {}

    return [
        scored("a", low, **more, **alarm(low)),
        scored("b", ramp, **more, **alarm(ramp)),
        scored(
            "c", ramp, "fire", abnormal=[(2, 6)], located=(located(0.5), located(0.2, 0.4, 3)), **more, **alarm(ramp)
        ),
        scored("d", ramp[::-1], "fighting", abnormal=[(1, 4), (8, 9)], **more, **alarm(ramp[::-1])),
    ]


def write_dataset(folder: Path, *, annotated: bool = True, frames: int = 24) -> Path:
    """Two normal and two abnormal test videos at 10 fps (64 x 48), one training video; boxes where annotated."""
    rows, notes = [], {}
    for name, label in (("n0", "normal"), ("n1", "normal"), ("x0", "fire"), ("x1", "fighting"), ("t0", "normal")):
        file, split = f"{name}.mp4", "train" if name == "t0" else "test"
        folder.mkdir(parents=True, exist_ok=True)
        videos.write_video(folder / file, frames=frames, fps=10, noise=40 if label == "normal" else 0)
        rows.append(f"{file},{label},{split}")
        intervals = [] if label == "normal" else [[6, 14]]
        boxes = {} if label == "normal" else {str(frame): [[8, 8, 40, 40]] for frame in range(6, 14)}
        notes[file] = {"label": label, "size_wh": [64, 48], "intervals": intervals, "boxes": boxes}
    (folder / "labels.csv").write_text("\n".join(["video,label,split", *rows, ""]))
    if annotated:
        (folder / "annotations.json").write_text(json.dumps({"schema": 1, "videos": notes}))
    return folder
