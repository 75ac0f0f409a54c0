"""Which videos a data set holds: cameras of every kind, each with normal and abnormal life, none in both splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from demo.scenes.scene import FPS, NORMAL, SceneSpec
from stprompt_edge.errors import UsageError

VIDEOS_PER_CAMERA = 3
CLOSE, WIDE = (0.27, 0.36), (0.13, 0.155)  # a person's part of the frame's height; boxes stay within 2 to 12 % of it
LEAD_S = 4.0  # normal seconds before and after an anomaly, at least
CRF = (25, 32)  # from a good to a poor camera

# what can happen where, at which framing: a crash fills too much of a close view, a fall too little of a wide one
AFOOT = ("fighting", "falling", "running", "fire and smoke")
OUTDOORS = (*AFOOT, "explosion", "cyclist on the pavement")
CAMERAS: tuple[tuple[str, tuple[float, float], tuple[str, ...]], ...] = (
    ("street", CLOSE, OUTDOORS),
    ("car park", WIDE, ("car crash", "car on the pavement", "fire and smoke", "explosion")),
    ("lobby", CLOSE, AFOOT),
    ("plaza", CLOSE, OUTDOORS),
    ("street", WIDE, ("car crash", "car on the pavement", "fire and smoke", "explosion")),
    ("shop", CLOSE, AFOOT),
    ("plaza", WIDE, ("car on the pavement", "fire and smoke", "explosion")),
    ("car park", CLOSE, OUTDOORS),
)


@dataclass(frozen=True, kw_only=True)
class PlannedVideo:
    """One video of a data set: its name (relative to the data set), split and specification."""

    name: str
    split: str
    camera: str
    crf: int
    spec: SceneSpec


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What determines a rendered data set, to the bit.

    Args:
        train, test: videos per split; every other one is normal.
        seconds: shortest and longest video.
    """

    seed: int
    train: int = 60
    test: int = 40
    seconds: tuple[float, float] = (20.0, 60.0)
    fps: int = FPS
    size_wh: tuple[int, int] = (320, 180)
    supersample: int = 3

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 0 or self.train + self.test == 0:
            raise UsageError(f"got {self.train} train and {self.test} test videos", remedy="ask for at least one video")
        if not 2 * LEAD_S + 2 <= self.seconds[0] <= self.seconds[1]:
            raise UsageError(
                f"videos of {self.seconds[0]} to {self.seconds[1]} s",
                remedy=f"give a shortest length of at least {2 * LEAD_S + 2:.0f} s, and a longest one not below it",
            )
        if self.fps < 1 or self.size_wh[0] % 2 or self.size_wh[1] % 2 or min(self.size_wh) < 64:
            raise UsageError(
                f"got {self.fps} frames per second of {self.size_wh[0]} x {self.size_wh[1]}",
                remedy="H.264 needs at least 1 frame per second and an even size; 64 x 64 is the smallest",
            )


def plan(dataset: DatasetSpec) -> list[PlannedVideo]:
    """All videos of a data set. Adding test videos does not change the train videos, nor the other way round."""
    return _split(dataset, "train", dataset.train, 0) + _split(dataset, "test", dataset.test, 1)


def _split(dataset: DatasetSpec, split: str, count: int, branch: int) -> list[PlannedVideo]:
    """The videos of one split; its seeds are drawn from a branch of their own, so its cameras are too."""
    rng = np.random.default_rng([dataset.seed, branch])
    used: Counter[str] = Counter()
    videos = []
    for index in range(count):
        number, shot = divmod(index, VIDEOS_PER_CAMERA)
        if shot == 0:
            scene, framing, possible = CAMERAS[number % len(CAMERAS)]
            scene_seed = 2 * int(rng.integers(2**40)) + branch  # even in train, odd in test: never shared
            person_fraction, crf = float(rng.uniform(*framing)), int(rng.integers(CRF[0], CRF[1] + 1))
        anomaly = NORMAL
        if index % 2:
            anomaly = min(possible, key=lambda kind: (used[kind], rng.random()))
            used[anomaly] += 1
        seconds = round(float(rng.uniform(*dataset.seconds)), 1)
        lasts = float(rng.uniform(0.35, 1.0) * min(14.0, seconds - 2 * LEAD_S))
        start = float(rng.uniform(LEAD_S, seconds - LEAD_S - lasts))
        spec = SceneSpec(
            scene_seed=scene_seed,
            seed=2 * int(rng.integers(2**40)) + branch,
            scene=scene,
            person_fraction=person_fraction,
            anomaly=anomaly,
            start_s=start if anomaly != NORMAL else 0.0,
            end_s=start + lasts if anomaly != NORMAL else 0.0,
            seconds=seconds,
            fps=dataset.fps,
            size_wh=dataset.size_wh,
            supersample=dataset.supersample,
        )
        camera = f"{split}-{number:02d}-{scene.replace(' ', '-')}"
        name = f"{split}/{camera}-{shot}.mp4"
        videos.append(PlannedVideo(name=name, split=split, camera=camera, crf=crf, spec=spec))
    return videos
