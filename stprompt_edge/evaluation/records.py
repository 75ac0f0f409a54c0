"""What an evaluation is made of: settings, scored videos, figures. Frozen and plain.

Suffixes and letters: T sampled frames of a video, F its camera frames. A lookahead is a number of later sampled frames
that a score may use; None is all of them, the offline score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets import TEST
from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.sources import check_fps
from stprompt_edge.vocabulary import NORMAL_CLASS

ALARM_BUDGET = 2.0  # false alarms per hour that the best operating point may have; more, and people switch it off


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How to evaluate.

    Raises:
        UsageError: a number under 1, or a rate that cannot be.
    """

    streaming: bool = False  # frame by frame, as at the edge: adds alarms, localization and lookahead
    split: str = TEST
    stride: int | None = None  # camera frames per sampled frame; None for the model's own; streaming, as `run` takes it
    processes: int = 1
    precision: str | None = None  # of a bundle's encoder; None for what the runtime would pick
    features: Path | None = None  # of a checkpoint: what `extract` wrote; None to embed the videos
    pretrained: str | None = None  # of a checkpoint: CLIP weights, where the checkpoint's own name is not enough
    fps: float | None = None  # of image folders

    def __post_init__(self) -> None:
        for name, value in (("stride", self.stride), ("processes", self.processes)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, got {value}", remedy=f"leave out --{name}")
        check_fps(self.fps)


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """From its first abnormal frame to the one after its last, in seconds of the video; short gaps are inside."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, kw_only=True)
class LocatedFrame:
    """An annotated frame and how well it was localized; both figures are 0 where it could not be decoded."""

    frame: int  # the annotated camera frame; its sampled frame is at most a stride earlier
    score: float
    iou: float  # 0..1, whatever the score
    true_share: float  # of the picture that is truly abnormal, 0..1


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A localized frame to look at: what is true on the left, the heat map and predicted boxes on the right."""

    video: str
    label: str
    seconds: float
    located: LocatedFrame
    jpeg: bytes


@dataclass(frozen=True, kw_only=True)
class ScoredVideo:
    """All that the figures need of one video."""

    name: str
    label: str
    stride: int
    fps: float
    frame_count: int  # F
    seconds: NDArray[np.float64]  # [T] times of the sampled frames
    duration_seconds: float
    scores: Mapping[int | None, NDArray[np.float64]]  # [T] each, by lookahead; offline only None
    alarm: NDArray[np.bool_] | None = None  # [T] the bundle's own; None offline
    labels: NDArray[np.bool_] | None = None  # [F] True where abnormal; None without annotation
    anomalies: tuple[Anomaly, ...] = ()
    located: tuple[LocatedFrame, ...] = ()
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def is_normal(self) -> bool:
        """No frame of it is abnormal."""
        return self.label == NORMAL_CLASS

    @property
    def judged(self) -> NDArray[np.float64]:
        """[T] the scores that the figures are about: those of the runtime, or the offline ones."""
        return self.scores[0] if 0 in self.scores else self.scores[None]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How well scores tell abnormal from normal: frames of all videos together, or videos by their highest score."""

    auc: float
    ap: float
    abnormal: int
    normal: int


@dataclass(frozen=True, kw_only=True)
class LookaheadPoint:
    """What waiting for later frames brings. Alarms are at the bundle's own threshold."""

    lookahead: int | None
    delay_seconds: float  # from a sampled frame to its score, at the median spacing
    auc: float | None
    ap: float | None
    false_alarms_per_hour: float | None
    median_seconds_to_alarm: float | None  # inf: more than half were missed


@dataclass(frozen=True, kw_only=True)
class LocalizationFigures:
    """How well the anomaly is found inside the frame."""

    truth: str  # boxes or masks
    tiou: float
    mean_iou: float  # of all annotated frames whatever their score, mean over videos
    videos: int
    frames: int
    scored_share: float  # of those frames, how many score TIoU's threshold or more


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What an alarm threshold costs and brings. A time is inf where too few anomalies were detected."""

    threshold_on: float
    threshold_off: float
    false_alarms: int
    false_alarms_per_hour: float | None  # None without normal footage
    normal_alarm_share: float | None  # of the normal sampled frames, how many with the alarm on
    detected: int
    missed: int
    detected_share: float | None  # None without anomalies
    missed_share: float | None
    median_seconds: float | None  # to the alarm, of all anomalies, missed ones included; None where none is annotated
    lower_quartile_seconds: float | None
    upper_quartile_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class AlarmFigures:
    """The alarm that ships, over the thresholds."""

    normal_hours: float
    normal_videos: int
    anomalies: int
    timed: bool  # anomalies are annotated intervals; otherwise whole abnormal videos, which have no start
    score_delay_samples: int  # later sampled frames that the runtime's score waits for
    own: OperatingPoint
    best: (
        OperatingPoint | None
    )  # of the curve, within `ALARM_BUDGET`; None if no point is, or there is no normal footage
    curve: tuple[OperatingPoint, ...]  # thresholds rising


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All that was measured; None is what the data set does not allow or what was not asked for."""

    frames: Ranking | None
    videos: Ranking | None
    classes: Mapping[str, float]  # frame AUC by class
    localization: LocalizationFigures | None = None
    alarm: AlarmFigures | None = None
    lookahead: tuple[LookaheadPoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What was evaluated."""

    kind: str  # bundle or checkpoint
    path: str
    sha256: str  # of bundle.json, or of the checkpoint
    method: str
    backend: str
    stride: int | None  # None: it follows the rate of each video
    threshold_on: float | None  # None offline
    description: Mapping[str, str]  # for people
    cautions: tuple[str, ...] = ()  # to be read before any figure


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What it was evaluated on; counts are of the videos that were scored."""

    name: str
    split: str
    normal_videos: int
    abnormal_videos: int
    camera_frames: int
    sampled_frames: int
    hours: float
    seconds_between_samples: float  # median of the videos


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation, whole."""

    streaming: bool
    model: ModelFacts
    dataset: DatasetFacts
    figures: Figures
    videos: tuple[ScoredVideo, ...] = field(repr=False)
    skipped: tuple[tuple[str, str], ...]  # name and reason
    notes: tuple[str, ...]  # for people: limits, and what does not fit
