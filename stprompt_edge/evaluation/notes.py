"""Sentences for people: what the figures rest on, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stprompt_edge.bundle import Bundle, cautions
from stprompt_edge.datasets import Dataset
from stprompt_edge.errors import UsageError
from stprompt_edge.evaluation.figures import median_spacing
from stprompt_edge.evaluation.records import (
    ALARM_BUDGET,
    AlarmFigures,
    EvaluationSettings,
    Figures,
    ScoredVideo,
)
from stprompt_edge.runtime.sources import ASSUMED_FPS
from stprompt_edge.runtime.watch import assumed_rate
from stprompt_edge.vocabulary import Vocabulary

SPACING_TOLERANCE = 0.1  # the adapter's kernel counts sampled frames, so figures move with their spacing
_NAMED = 3  # examples in a sentence


def notes_on(
    bundle: Bundle,
    dataset: Dataset,
    scored: Sequence[ScoredVideo],
    skipped: Sequence[tuple[str, str]],
    figures: Figures,
    settings: EvaluationSettings,
) -> Iterator[str]:
    """What a reader must know, most important first."""
    yield from cautions(bundle)
    if skipped:
        names = _examples([name for name, _ in skipped])
        yield f"{len(skipped)} of {len(skipped) + len(scored)} videos were skipped: {names}"
    if dataset.missing_videos:
        lost = dataset.missing_videos
        yield f"{len(lost)} videos of the data set's lists are not there: {_examples(lost)}"
    yield from _on_annotation(scored, figures)
    folders = [video.name for video in dataset.of_split(settings.split) if video.path.is_dir()]
    if folders and settings.fps is None and settings.features is None:
        yield f"{assumed_rate(ASSUMED_FPS)} (of {len(folders)} videos: {_examples(folders)})"
    else:
        yield from _on_spacing(bundle, scored)
    yield from _on_labels(bundle.vocabulary, scored)
    if figures.alarm is not None:
        yield from _on_alarms(figures.alarm, median_spacing(scored))
    if settings.streaming and figures.localization is None and any(not video.is_normal for video in scored):
        yield "no frame is annotated with boxes or masks: localization was not measured"
    damaged = [f"{video.name}: {warning}" for video in scored for warning in video.warnings]
    if damaged:
        yield f"{len(damaged)} videos with a warning: {_examples(damaged)}"


def _on_annotation(scored: Sequence[ScoredVideo], figures: Figures) -> Iterator[str]:
    abnormal = [video for video in scored if not video.is_normal]
    plain = [video.name for video in abnormal if video.labels is None]
    if not abnormal:
        yield "no abnormal video: only false alarms were counted"
    elif plain and figures.frames is None:
        yield "no frame-level annotation: AUC and AP are of whole videos, each by its highest score"
    elif plain:
        yield f"{len(plain)} abnormal videos are not annotated and not in the frame-level figures: {_examples(plain)}"
    if abnormal and len(abnormal) == len(scored):
        yield "no normal video: false alarms cannot be counted"


def _on_spacing(bundle: Bundle, scored: Sequence[ScoredVideo]) -> Iterator[str]:
    trained, found = bundle.manifest.method.seconds_between_samples, median_spacing(scored)
    if trained and found and abs(found / trained - 1) > SPACING_TOLERANCE:
        closest = max(1, round(scored[0].stride * trained / found))
        advice = f": --stride {closest} is closest to that" if closest != scored[0].stride else ""
        yield f"sampled every {found:.3g} s, the model was trained with one frame every {trained:.3g} s{advice}"


def _on_labels(vocabulary: Vocabulary, scored: Sequence[ScoredVideo]) -> Iterator[str]:
    unknown = [label for label in sorted({video.label for video in scored}) if not _knows(vocabulary, label)]
    if unknown:
        names = ", ".join(map(vocabulary.with_suggestion, unknown))
        yield f"labels outside the model's vocabulary '{vocabulary.name}', which do not matter for AUC: {names}"


def _knows(vocabulary: Vocabulary, label: str) -> bool:
    try:
        vocabulary.row_of_label(label)
    except UsageError:
        return False
    return True


def _on_alarms(alarm: AlarmFigures, spacing: float) -> Iterator[str]:
    if alarm.normal_hours > 0:
        one = 1 / alarm.normal_hours
        yield (
            f"false alarms rest on {alarm.normal_hours:.2g} h of normal footage in {alarm.normal_videos} videos: "
            f"one is {one:.3g} per hour"
            + (f", so {ALARM_BUDGET:g} per hour or fewer means none at all" if one > ALARM_BUDGET else "")
        )
    if alarm.best is not None and alarm.anomalies:
        yield "the best threshold was chosen on these very videos: expect less on others"
    if alarm.timed and alarm.score_delay_samples:
        wait = alarm.score_delay_samples * spacing
        yield f"times to alarm include {wait:.2g} s until a score is known: its motion needs one later sampled frame"
    if alarm.anomalies and not alarm.timed:
        yield "no annotated interval: an alarm anywhere in an abnormal video counts as detection, and no time is given"


def _examples(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
