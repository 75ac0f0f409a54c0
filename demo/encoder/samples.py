"""Frames of many rendered places, each with what it and each of its windows and patches shows.

The places are those of training cameras: their seeds are even, so a test video never shows one of them.

Suffixes: N frames, F fine windows (49), L coarse windows (16), P patches (196).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from demo.encoder.captions import CAPTIONS, UNKNOWN, frame_concept
from demo.scenes.plan import CAMERAS
from demo.scenes.scene import ANOMALIES, NORMAL, Box, RenderedFrame, SceneSpec, Stage
from stprompt_edge.errors import UsageError
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.processes import StopFlag, in_processes

SIZE_WH = (320, 180)
SECONDS, START_S, END_S = 24.0, 8.0, 16.0
MOMENTS_S = ((1.0, START_S), (START_S + 0.3, END_S - 0.3), (END_S + 3.0, SECONDS))  # before, during, long after
FRAMES_PER_PLACE = 10
JPEG_QUALITY = (30, 85)  # stands for the compression of a camera's stream
FILLED, BARELY = 0.5, 0.1  # a window shows what fills half of it; what fills less than a tenth does not count
PATCHES = WindowGrid(size=Geometry().patch_size, stride=Geometry().patch_size)
THING_FILLS = 0.15  # of a window, from which on it shows a person or a vehicle rather than the place


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Frames as JPEG, with the rows of their concepts in CAPTIONS."""

    jpegs: tuple[NDArray[np.uint8], ...]  # N
    frame_concepts: NDArray[np.int16]  # [N]
    fine_concepts: NDArray[np.int16]  # [N, F]; UNKNOWN where a window is neither one thing nor another
    coarse_concepts: NDArray[np.int16]  # [N, L]
    patch_concepts: NDArray[np.int16]  # [N, P]

    def __len__(self) -> int:
        return len(self.jpegs)

    def image_bgr(self, index: int) -> NDArray[np.uint8]:
        """[180, 320, 3] uint8."""
        return cv2.imdecode(self.jpegs[index], cv2.IMREAD_COLOR)  # type: ignore[return-value]


def render_samples(
    path: Path,
    seed: int,
    places: int,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, places: None,
) -> None:
    """Render FRAMES_PER_PLACE frames at each of so many places into one file, whole or not at all.

    Args:
        seed: the same seed gives the same frames.
        workers: processes that render at the same time.
        progress: called with (finished, all) places.

    Raises:
        UsageError: no place.
        EnvironmentFailure: the disk is full.
    """
    if places < 1:
        raise UsageError(f"got {places} places", remedy="render at least one")
    found: dict[int, Samples] = {}
    rendered = in_processes(
        range(places), partial(_open_worker, seed), workers, name="rendering", remedy="use fewer workers"
    )
    for number, part in rendered:
        found[number] = part
        progress(len(found), places)
    parts = [found[number] for number in range(places)]
    jpegs = [jpeg for part in parts for jpeg in part.jpegs]
    tensors: dict[str, NDArray] = {
        "jpegs": np.concatenate(jpegs),
        "lengths": np.array([len(jpeg) for jpeg in jpegs], np.int64),
        "frame_concepts": np.concatenate([part.frame_concepts for part in parts]),
        "fine_concepts": np.concatenate([part.fine_concepts for part in parts]),
        "coarse_concepts": np.concatenate([part.coarse_concepts for part in parts]),
        "patch_concepts": np.concatenate([part.patch_concepts for part in parts]),
    }
    write_bytes_atomic(path, save(tensors, metadata={"concepts": json.dumps(CAPTIONS.concepts)}))


def load_samples(path: Path) -> Samples:
    """Read what `render_samples` wrote.

    Raises:
        UsageError: no such file, not one of ours, or of other concepts.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            concepts = tuple(json.loads((file.metadata() or {})["concepts"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        jpegs = tuple(np.split(tensors.pop("jpegs"), np.cumsum(tensors.pop("lengths"))[:-1]))
        samples = Samples(jpegs=jpegs, **tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise UsageError(f"{path} does not hold captioned frames ({exc})", remedy="render them again") from exc
    if concepts != CAPTIONS.concepts:
        raise UsageError(f"{path} was made with other captions", remedy="render the frames again")
    return samples


def _open_worker(seed: int, stop: StopFlag) -> Callable[[int], Samples]:
    return partial(render_place, seed)


def render_place(seed: int, number: int) -> Samples:
    """Frames of one place before, during and after one anomaly."""
    rng = np.random.default_rng([seed, 2, number])
    scene, framing, possible = CAMERAS[number % len(CAMERAS)]
    anomaly = possible[(number // len(CAMERAS)) % len(possible)]
    spec = SceneSpec(
        scene_seed=2 * int(rng.integers(2**40)),
        seed=2 * int(rng.integers(2**40)),
        scene=scene,
        person_fraction=float(rng.uniform(*framing)),
        anomaly=anomaly,
        start_s=START_S,
        end_s=END_S,
        seconds=SECONDS,
        size_wh=SIZE_WH,
    )
    stage, geometry = Stage(spec), Geometry()
    jpegs, frames = [], []
    windows: tuple[list[NDArray[np.int16]], ...] = ([], [], [])
    for index in range(FRAMES_PER_PLACE):
        moment = (0, 1, 1, 1, 2)[index % 5]
        frame = stage.frame(int(rng.integers(10_000)), float(rng.uniform(*MOMENTS_S[moment])))
        quality = int(rng.integers(*JPEG_QUALITY))
        jpegs.append(cv2.imencode(".jpg", frame.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].reshape(-1))
        frames.append(CAPTIONS.concept(frame_concept(anomaly if frame.label else NORMAL, scene)))
        for found, grid in zip(windows, (geometry.fine, geometry.coarse, PATCHES), strict=True):
            found.append(window_concepts(frame, spec, geometry, grid))
    fine, coarse, patches = (np.stack(found) for found in windows)
    return Samples(
        jpegs=tuple(jpegs),
        frame_concepts=np.array(frames, np.int16),
        fine_concepts=fine,
        coarse_concepts=coarse,
        patch_concepts=patches,
    )


def window_concepts(frame: RenderedFrame, spec: SceneSpec, geometry: Geometry, grid: WindowGrid) -> NDArray[np.int16]:
    """Row of CAPTIONS' concept for each window of a grid: [windows].

    A window shows the anomaly when half of it, or of the anomaly, is inside; else what fills most of it.
    """
    windows = geometry.windows_xyxy(grid).astype(float)
    scale = np.array([geometry.image_size / spec.size_wh[0], geometry.image_size / spec.size_wh[1]] * 2)
    concepts = np.full(len(windows), CAPTIONS.concept(spec.scene), np.int16)
    most = np.full(len(windows), THING_FILLS)
    for thing in frame.seen:
        inside, _ = _overlap(windows, np.array(thing.box) * scale)
        concepts = np.where(inside > most, CAPTIONS.concept(thing.kind), concepts).astype(np.int16)
        most = np.maximum(most, inside)
    if frame.boxes:
        parts = [_overlap(windows, np.array(box) * scale) for box in frame.boxes]
        inside, share = (np.max(column, axis=0) for column in zip(*parts, strict=True))
        concepts[(inside > BARELY) | (share > BARELY)] = UNKNOWN
        concepts[(inside >= FILLED) | (share >= FILLED)] = ANOMALIES.index(spec.anomaly)
    return concepts


def _overlap(windows_xyxy: NDArray[np.float64], box: Box | NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part of each window that the box fills, and part of the box inside each window."""
    x0, y0, x1, y1 = box
    width = np.clip(np.minimum(windows_xyxy[:, 2], x1) - np.maximum(windows_xyxy[:, 0], x0), 0, None)
    height = np.clip(np.minimum(windows_xyxy[:, 3], y1) - np.maximum(windows_xyxy[:, 1], y0), 0, None)
    areas = (windows_xyxy[:, 2] - windows_xyxy[:, 0]) * (windows_xyxy[:, 3] - windows_xyxy[:, 1])
    return width * height / areas, width * height / max((x1 - x0) * (y1 - y0), 1)
