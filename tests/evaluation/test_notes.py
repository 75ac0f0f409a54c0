"""What a reader is told about the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stprompt_edge.bundle import Bundle, ClipSection
from stprompt_edge.datasets import Dataset, LabelledVideo
from stprompt_edge.evaluation.figures import offline_figures, streaming_figures
from stprompt_edge.evaluation.notes import notes_on
from stprompt_edge.evaluation.records import EvaluationSettings, ScoredVideo
from tests.runtime.tiny import tiny_bundle

from .scored import scored

pytest.importorskip("sklearn")


def trained(**method: Any) -> Bundle:
    """A bundle whose CLIP has real weights."""
    bundle = tiny_bundle(motion_timing="causal", **method)
    clip = ClipSection(model="tiny", pretrained="openai", seed=0, embedding_width=16, weights_sha256="0" * 64)
    return Bundle(**{**vars(bundle), "manifest": bundle.manifest.model_copy(update={"clip": clip})})


def dataset(*missing: str) -> Dataset:
    video = LabelledVideo(path=Path("n.mp4"), name="n", label="normal", split="test")
    return Dataset(name="d", root=Path("d"), videos=(video,), class_names=("normal",), missing_videos=tuple(missing))


def notes(
    *videos: ScoredVideo,
    bundle: Bundle | None = None,
    streaming: bool = False,
    skipped: tuple = (),
    missing: tuple = (),
) -> list[str]:
    bundle = bundle or trained()
    manifest = bundle.manifest
    figures = (
        streaming_figures(videos, manifest.method, manifest.alarm, "boxes") if streaming else offline_figures(videos)
    )
    settings = EvaluationSettings(streaming=streaming)
    return list(notes_on(bundle, dataset(*missing), videos, skipped, figures, settings))


NORMAL = scored("n", [0.1, 0.2])
FIRE = scored("x", [0.1, 0.9], "fire", abnormal=[(1, 2)])
UNKNOWN = scored("u", [0.1, 0.9], "fire", abnormal=None)
STREAMED = [
    scored("n", [0.1] * 4, others={None: [0.1] * 4}),
    scored("x", [0.9] * 4, "fire", abnormal=[(1, 3)], others={None: [0.9] * 4}),
]
FLOOD = scored("y", [0.9], "flood", abnormal=[(0, 1)])


def test_nothing_to_say() -> None:
    assert notes(NORMAL, FIRE) == []


@pytest.mark.parametrize(
    ("videos", "options", "expected"),
    [
        ([NORMAL, FIRE], {"bundle": tiny_bundle()}, "CLIP weights are random"),
        ([NORMAL, FIRE], {"skipped": (("a", "gone"), ("b", "gone"))}, "2 of 4 videos were skipped: a, b"),
        ([NORMAL, FIRE], {"missing": ("a", "b", "c", "d", "e")}, "5 videos .* not there: a, b, c and 2 more"),
        ([NORMAL, UNKNOWN], {}, "no frame-level annotation: AUC and AP are of whole videos"),
        ([NORMAL, FIRE, UNKNOWN], {}, "1 abnormal videos are not annotated .*: u"),
        ([FIRE], {}, "no normal video: false alarms cannot be counted"),
        (
            [NORMAL, scored("y", [0.9], "flood", abnormal=[(0, 1)])],
            {},
            "outside the model's vocabulary 'tiny'.*: flood",
        ),
        ([NORMAL, FIRE], {"bundle": trained(seconds_between_samples=0.5)}, "sampled every 1 s, .* every 0.5 s$"),
        ([NORMAL, scored("w", [0.5], warnings=("truncated",))], {}, "1 videos with a warning: w: truncated"),
    ],
)
def test_what_does_not_fit_is_told(videos: list, options: dict, expected: str) -> None:
    import re

    assert any(re.search(expected, note) for note in notes(*videos, **options)), notes(*videos, **options)


@pytest.mark.parametrize(
    ("trained_seconds", "told"), [(1.0, False), (0.91, False), (0.85, True), (1.2, True), (None, False)]
)
def test_ten_percent_of_spacing_are_tolerated(trained_seconds: float | None, told: bool) -> None:
    found = notes(NORMAL, FIRE, bundle=trained(seconds_between_samples=trained_seconds))
    assert any("sampled every" in note for note in found) == told


def test_a_closer_stride_is_advised() -> None:
    video = scored("n", [0.1, 0.2], stride=10)  # one second at stride 10
    (note,) = notes(video, FIRE, bundle=trained(seconds_between_samples=0.5))
    assert note.endswith("--stride 5 is closest to that")


def test_a_label_that_no_class_has_gets_its_nearest() -> None:
    told = notes(NORMAL, FIRE, scored("y", [0.9], "Fires", abnormal=[(0, 1)]), FLOOD)
    assert any(note.endswith("which do not matter for AUC: Fires (did you mean 'fire'?), flood") for note in told)


@pytest.mark.parametrize(("fps", "told"), [(None, True), (10.0, False)])
def test_image_folders_without_a_rate(tmp_path: Path, fps: float | None, told: bool) -> None:
    video = LabelledVideo(path=tmp_path, name="shots", label="normal", split="test")
    data = Dataset(name="d", root=tmp_path, videos=(video,), class_names=("normal",))
    settings, bundle = EvaluationSettings(fps=fps), trained(seconds_between_samples=0.25)
    found = list(notes_on(bundle, data, (NORMAL, FIRE), (), offline_figures((NORMAL, FIRE)), settings))
    assumed = "the source has no rate of its own, 25 fps assumed: give --fps (of 1 videos: shots)"
    assert (assumed in found) is told
    assert any("sampled every" in note for note in found) is not told  # an invented rate has no spacing


def test_the_footage_behind_false_alarms_is_told() -> None:
    found = notes(*STREAMED, streaming=True)
    rest = "false alarms rest on 0.0011 h of normal footage in 1 videos: one is 900 per hour"
    assert f"{rest}, so 2 per hour or fewer means none at all" in found
    assert "the best threshold was chosen on these very videos: expect less on others" in found
    assert "no frame is annotated with boxes or masks: localization was not measured" in found
    long = [scored("n", [0.1], duration_seconds=7200.0, others={None: [0.1]}), STREAMED[1]]
    assert "false alarms rest on 2 h of normal footage in 1 videos: one is 0.5 per hour" in notes(*long, streaming=True)


def test_waiting_for_motion_is_told() -> None:
    centered = trained()
    manifest = centered.manifest
    method = manifest.method.model_copy(update={"motion_timing": "centered"})
    centered = Bundle(**{**vars(centered), "manifest": manifest.model_copy(update={"method": method})})
    assert any("times to alarm include 1 s" in note for note in notes(*STREAMED, bundle=centered, streaming=True))
    assert not any("times to alarm" in note for note in notes(*STREAMED, streaming=True))


def test_without_intervals_or_anomalies() -> None:
    unknown = scored("u", [0.1, 0.9], "fire", abnormal=None, others={None: [0.1, 0.9]})
    found = notes(STREAMED[0], unknown, streaming=True)
    assert any("an alarm anywhere in an abnormal video counts as detection" in note for note in found)
    found = notes(STREAMED[0], streaming=True)
    assert "no abnormal video: only false alarms were counted" in found
    assert not any("best threshold" in note for note in found)
