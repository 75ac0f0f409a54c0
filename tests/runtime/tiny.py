"""A bundle in memory that is small in every respect, streams of frames for it, and a source that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import (
    AlarmSection,
    Bundle,
    ClipSection,
    GeometrySection,
    GridSection,
    LocalizationSection,
    Manifest,
    MethodSection,
    PreprocessingSection,
    TextEmbeddings,
)
from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.preprocess import CLIP_MEAN_RGB, CLIP_STD_RGB, Preprocessing
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import SourceInfo
from stprompt_edge.runtime.sources import Source
from stprompt_edge.vocabulary import vocabulary_from_dict, vocabulary_to_dict

# the reference's layout (14 x 14 tokens, 49 fine and 16 coarse windows) at an eighth of its size
GEOMETRY = Geometry(
    image_size=28, patch_size=2, fine=WindowGrid(size=4, stride=4), coarse=WindowGrid(size=10, stride=6)
)
VOCABULARY = vocabulary_from_dict(
    {
        "name": "tiny",
        "normal_phrases": ["an empty street", "a parked car"],
        "classes": [
            {"name": "fighting", "phrases": ["people punching each other"]},
            {"name": "fire", "phrases": ["flames", "thick smoke"]},
        ],
    },
    where="tests",
)
VARIANTS = [(motion, timing) for motion in ("pixel", "feature") for timing in ("centered", "causal")]


def unit_rows(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    """Random float32 [rows, width] of unit length."""
    x = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def tiny_bundle(
    *,
    width: int = 16,
    label_prompts: NDArray[np.float32] | None = None,
    alarm: AlarmSection | None = None,
    localization: LocalizationSection | None = None,
    **method: Any,
) -> Bundle:
    """A bundle that was never on a disk; `method` overrides `MethodSection`."""
    rows = len(VOCABULARY.class_names)
    manifest = Manifest(
        schema_version=1,
        created_by="tests",
        clip=ClipSection(model="tiny", pretrained="none", seed=0, embedding_width=width, weights_sha256="0" * 64),
        preprocessing=PreprocessingSection(size=28, mean_rgb=CLIP_MEAN_RGB, std_rgb=CLIP_STD_RGB),
        geometry=GeometrySection(
            image_size=28,
            patch_size=2,
            fine=GridSection(size=4, stride=4),
            coarse=GridSection(size=10, stride=6),
        ),
        method=MethodSection(**{"name": "stprompt", "stride": 4, **method}),
        localization=localization or LocalizationSection(tau=0.5),
        alarm=alarm or AlarmSection(),
        vocabulary=vocabulary_to_dict(VOCABULARY),
    )
    return Bundle(
        path=Path("tiny"),
        manifest=manifest,
        preprocessing=Preprocessing(size=28),
        geometry=GEOMETRY,
        vocabulary=VOCABULARY,
        text=TextEmbeddings(
            label_prompts=unit_rows(rows, width, 1) if label_prompts is None else label_prompts,
            normal_phrases=unit_rows(len(VOCABULARY.normal_phrases), width, 2),
            abnormal_phrases=unit_rows(len(VOCABULARY.abnormal_phrases), width, 3),
        ),
    )


def ranking_bundle(**changes: Any) -> Bundle:
    """A `tiny_bundle` of the ranking method."""
    return tiny_bundle(**{"name": "mil-ranking", "windows": GEOMETRY.fine_count, "motion_timing": "causal", **changes})


def random_frames(count: int, *, seed: int = 0, size_wh: tuple[int, int] = (30, 20)) -> list[CameraFrame]:
    """Noise, ten frames a second."""
    rng = np.random.default_rng(seed)
    shape = (size_wh[1], size_wh[0], 3)
    return [
        CameraFrame(index=i, seconds=i / 10, image_bgr=rng.integers(0, 256, shape, dtype=np.uint8))
        for i in range(count)
    ]


class ScriptedSource(Source):
    """Yields given frames, then waits for `gate` if there is one, then raises `error` if there is one."""

    def __init__(
        self,
        frames: Sequence[CameraFrame],
        *,
        live: bool = False,
        error: BaseException | None = None,
        gate: threading.Event | None = None,
    ) -> None:
        super().__init__()
        height, width = frames[0].image_bgr.shape[:2] if frames else (1, 1)
        self.info = SourceInfo(
            name="script",
            width=width,
            height=height,
            fps=10.0,
            frame_count=None if live else len(frames),
            live=live,
            codec="script",
        )
        self._frames, self._error, self._gate = frames, error, gate
        self.ended = threading.Event()  # all frames were handed over
        self.closed = False

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        for frame in self._frames:
            if wanted(frame.index):
                yield frame
        self.ended.set()
        if self._gate is not None:
            assert self._gate.wait(10)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed = True
