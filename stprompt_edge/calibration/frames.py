"""Which frames of the footage int8 is calibrated with, and which others it is judged by.

All footage is looked at once, at the stride that `run` would take. Frames to calibrate with are picked far from each
other in time, brightness and motion; the gate's are spread evenly and none of them is calibrated with.

Suffixes: N sampled frames, K fine windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.masking import masked_source
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.addresses import file_path
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.motion import SecondDifference, pixel_motion, select_windows
from stprompt_edge.runtime.sampler import default_stride
from stprompt_edge.runtime.sources import Source, expected_frames, open_source

GATE_FRAMES = 12  # to judge by
FEWEST_FRAMES = 8  # to calibrate with; below that a range is what a few pictures happened to hold
CANDIDATES = 4  # for each frame wanted: short footage is looked at more densely than the stride until it gives so many


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A sampled frame of the footage."""

    source: str  # as the user typed it
    frame: int  # 0-based index of the camera frame
    seconds: float
    brightness: float  # mean luma, 0..1
    motion: float  # mean of the windows' motion, eq. 1 on luma
    windows: NDArray[np.int64]  # [K] the fine windows that a watch step would encode


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Frames by purpose, in the footage's order."""

    calibration: tuple[Candidate, ...]
    gate: tuple[Candidate, ...]
    looked_at: int  # N


def choose_frames(sources: Sequence[str], bundle: Bundle, count: int, listener: StepProgress) -> Choice:
    """Look through the footage and choose.

    Args:
        sources: video files or image folders.
        bundle: whose preprocessing, stride and windows count.
        count: frames to calibrate with; if the footage holds fewer, all of them are taken.
        listener: told the source and the fraction done.

    Raises:
        SourceError: a source cannot be read.
        UsageError: one is live, or all together hold too few frames or no two different ones.
    """
    sources = list(dict.fromkeys(sources))
    candidates = []
    for done, source in enumerate(sources):

        def seen(part: float, done: int = done, source: str = source) -> None:
            listener(f"looking through {masked_source(source)}", (done + part) / len(sources))

        candidates += look_through(source, bundle, -(-count // len(sources)), seen)
    needed = GATE_FRAMES + FEWEST_FRAMES
    if len(candidates) < needed:
        raise UsageError(
            f"the footage holds {len(candidates)} frames, int8 needs {needed}: {FEWEST_FRAMES} to calibrate with and "
            f"{GATE_FRAMES} others to be judged by",
            remedy="pass longer footage, or more of it: --footage a.mp4 b.mp4",
        )
    if len({(one.brightness, one.motion) for one in candidates}) == 1:
        raise UsageError("the footage has no two different frames", remedy="pass ordinary footage of your cameras")
    judged = np.linspace(0, len(candidates) - 1, GATE_FRAMES).round().astype(int)
    rest = np.setdiff1d(np.arange(len(candidates)), judged)
    picked = rest[spread(features_of(candidates)[rest], count)]
    return Choice(
        calibration=tuple(candidates[i] for i in picked),
        gate=tuple(candidates[i] for i in judged),
        looked_at=len(candidates),
    )


def look_through(
    source: str, bundle: Bundle, wanted: int, seen: Callable[[float], None] = lambda done: None
) -> list[Candidate]:
    """The sampled frames of one source; `seen` is told the fraction done.

    Raises:
        SourceError: it cannot be read.
        UsageError: it is live, and would not end.
    """
    preprocess, geometry, method = Preprocessor(bundle.preprocessing), bundle.geometry, bundle.manifest.method
    count = geometry.fine_count if method.motion == "feature" else method.windows
    difference = SecondDifference("causal")
    found = []
    with _open(source) as opened:
        step = step_of(source, default_stride(method, opened.info.known_fps), wanted)
        total = opened.info.frame_count or 0
        for frame in opened.frames(lambda index: index % step == 0):
            seen(min(frame.index / total, 1.0) if total else 0.0)
            luma = preprocess(frame.image_bgr).luma
            changed = difference.push(luma)
            assert changed is not None  # causal: nothing is held back
            motion_N = pixel_motion(changed, geometry)
            found.append(
                Candidate(
                    source=source,
                    frame=frame.index,
                    seconds=frame.seconds,
                    brightness=float(luma.mean()),
                    motion=float(motion_N.mean()),
                    windows=np.sort(select_windows(motion_N, count).indices),
                )
            )
    return found


def step_of(source: str, stride: int, wanted: int) -> int:
    """Camera frames from one candidate to the next: the stride, or less where the source is short."""
    total = expected_frames(file_path(source))
    return stride if total is None else int(np.clip(total // (CANDIDATES * wanted), 1, stride))


def features_of(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Time, brightness and motion of each as a rank, 0..1; equal values share theirs. [N, 3]."""
    rows = [(place, one.brightness, one.motion) for place, one in enumerate(candidates)]
    ranks_3N = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in np.array(rows, np.float64).T]
    return np.stack([rank / max(rank.max(), 1) for rank in ranks_3N], axis=1)


def spread(features: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Rows far from each other: each next one is the farthest from all before (Gonzalez 1985).

    Args:
        features: [N, 3], N at least 1.
        count: of rows; all if there are no more.

    Returns:
        Their indices, rising.
    """
    picked = [int(np.argmin(np.square(features - 0.5).sum(axis=1)))]
    distance_N = np.full(len(features), np.inf)
    while len(picked) < min(count, len(features)):
        distance_N = np.minimum(distance_N, np.square(features - features[picked[-1]]).sum(axis=1))
        distance_N[picked[-1]] = -1.0  # equal frames lie at 0
        picked.append(int(np.argmax(distance_N)))
    return np.sort(np.array(picked, np.int64))


def read_frames(chosen: Sequence[Candidate]) -> Iterator[tuple[Candidate, CameraFrame]]:
    """The pictures of chosen frames, source by source.

    Raises:
        SourceError: a source cannot be read any more.
    """
    by_source: dict[str, dict[int, Candidate]] = {}
    for one in chosen:
        by_source.setdefault(one.source, {})[one.frame] = one
    for source, wanted in by_source.items():
        last = max(wanted)
        with _open(source) as opened:
            for frame in opened.frames(wanted.__contains__):
                yield wanted[frame.index], frame
                if frame.index == last:
                    break


def _open(source: str) -> Source:
    opened = open_source(source)
    if opened.info.live:
        opened.close()
        raise UsageError(
            f"{masked_source(source)} is live, and calibration reads its footage twice",
            remedy="record some of it, or pass a video file",
        )
    return opened
