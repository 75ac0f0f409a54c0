"""What travels between the stages of the runtime: frozen and plain.

Array suffixes: H height, W width, C channels or classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.masking import masked_source


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What is known of a source once it is open."""

    name: str  # as the user typed it; the secrets of an address are hidden, here at the latest
    width: int  # pixels, after rotation
    height: int
    fps: float  # average frames per second; 0.0 when the container does not say
    frame_count: int | None  # None when unknown (live, or a container without an index)
    live: bool  # live sources may drop frames, files never do
    codec: str
    fps_assumed: bool = False  # nothing tells the rate of the pictures, and `fps` is a guess

    @property
    def known_fps(self) -> float:
        """The rate where something tells it, else 0.0."""
        return 0.0 if self.fps_assumed else self.fps

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", masked_source(self.name))


@dataclass(kw_only=True)
class Losses:
    """What came damaged or not at all; counted up while a source is read."""

    undecodable_packets: int = 0  # or images: the decoder gave nothing for them
    corrupt_frames: int = 0  # decoded from data that came damaged; not given out
    concealed_frames: int = 0  # whose decoder made up for damage, or predicted from such; not given out
    missing_frames: int = 0  # that the gaps between the others would hold


@dataclass(frozen=True, kw_only=True)
class Box:
    """A localized region in pixels of the camera frame: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int
    probability: float  # highest heat inside, 0..1


@dataclass(frozen=True, kw_only=True)
class Localization:
    """Where in one sampled frame the anomaly is (eq. 11)."""

    heat_map: NDArray[np.float32]  # [14, 14] on the token grid, 0..1; resize bilinearly to the frame
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The result of one sampled frame."""

    frame_index: int
    seconds: float
    score: float  # anomaly score, 0..1
    class_probabilities: NDArray[np.float32]  # [1+C], row 0 is `normal`, sums to 1
    top_class: str  # most probable abnormal class
    top_probability: float
    alarm: bool = False  # is the alarm on at this sampled frame; a track does not know, its driver says
    localization: Localization | None = None  # None when not localized

    @property
    def boxes_xyxy(self) -> NDArray[np.int64]:
        """[K, 4] x0, y0, x1, y1 of the boxes in pixels of the camera frame, hottest first; K may be 0."""
        boxes = self.localization.boxes if self.localization else ()
        return np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes], np.int64).reshape(-1, 4)


@dataclass(frozen=True, kw_only=True)
class FrameBoxes:
    """The boxes of one sampled frame inside an event."""

    frame_index: int
    seconds: float
    score: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One alarm from on to off."""

    id: str  # unique; the ids of a camera sort by time
    camera: str
    started_at: datetime  # UTC, when its first frame was judged
    start_frame: int
    start_seconds: float
    end_frame: int
    end_seconds: float
    peak_frame: int
    peak_seconds: float
    peak_score: float
    top_class: str  # at the peak
    top_probability: float
    frames: tuple[FrameBoxes, ...] = ()


AlarmChangeKind = Literal["opened", "updated", "closed"]


@dataclass(frozen=True, kw_only=True)
class AlarmChange:
    """What all that follows an alarm is told: that its event has opened, has a new peak, or is over."""

    kind: AlarmChangeKind
    event: Event  # as far as it is known; its frames only when it is over
    seconds: float  # of the stream
    at: datetime  # UTC, wall clock


@dataclass(frozen=True, kw_only=True)
class StageLatency:
    """Milliseconds of one stage over all sampled frames of a run."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known before the first frame; heads every output."""

    source: SourceInfo
    class_names: tuple[str, ...]  # [1+C], "normal" first
    stride: int  # camera frames per sampled frame
    threshold_on: float
    threshold_off: float
    backend: str  # e.g. "onnxruntime CPU, encoder.cpu8.onnx"
    bundle: dict[str, str]  # label -> value, for people to read


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What is known after the last frame."""

    camera_frames: int
    sampled_frames: int
    events: int
    dropped_frames: int  # live only
    undecodable_packets: int  # see `Losses`, as the three below
    corrupt_frames: int = 0
    concealed_frames: int = 0
    missing_frames: int = 0
    warnings: tuple[str, ...]
    interrupted: bool
    wall_seconds: float
    peak_rss_mib: float
    latencies: dict[str, StageLatency] = field(default_factory=dict)  # stage -> latency, "step" is the whole
    versions: dict[str, str] = field(default_factory=dict)
