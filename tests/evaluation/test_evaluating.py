"""A bundle and a data set in, an evaluation out."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from stprompt_edge.datasets import Dataset, load_dataset
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.evaluation.evaluating import evaluate_bundle, videos_of
from stprompt_edge.evaluation.records import Evaluation, EvaluationSettings
from stprompt_edge.runtime.backends.fake import FakeBackend
from tests import videos
from tests.runtime.tiny import tiny_bundle

from .scored import write_dataset

STREAMING = EvaluationSettings(streaming=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_dataset(tmp_path_factory.mktemp("data")))


def run(dataset: Dataset, settings: EvaluationSettings | None = None, **options: object) -> Evaluation:
    bundle = tiny_bundle()
    return evaluate_bundle(bundle, dataset, settings, backend=FakeBackend(bundle), **options)  # type: ignore[arg-type]


def test_streaming_measures_everything(dataset: Dataset) -> None:
    seen: list[tuple[str, float]] = []
    result = run(dataset, STREAMING, progress=lambda what, done: seen.append((what, done)))
    figures = result.figures
    assert [video.name for video in result.videos] == ["n0.mp4", "n1.mp4", "x0.mp4", "x1.mp4"]
    assert figures.frames is not None
    assert (figures.frames.abnormal, figures.frames.normal) == (16, 80)
    assert set(figures.classes) == {"fire", "fighting"}
    assert figures.localization is not None
    assert (figures.localization.truth, figures.localization.videos, figures.localization.frames) == ("boxes", 2, 6)
    assert figures.alarm is not None
    assert (figures.alarm.anomalies, figures.alarm.normal_videos) == (2, 2)
    assert [point.lookahead for point in figures.lookahead] == [0, 1, 2, 3, 4, 6, 8, 12, None]
    assert result.dataset.hours == pytest.approx(4 * 2.4 / 3600)
    assert result.dataset.seconds_between_samples == pytest.approx(0.4)
    assert (result.model.threshold_on, result.model.stride, result.model.backend) == (0.5, 4, "fake")
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1] == ("computing figures", 1.0)


def test_offline_equals_streaming_with_all_lookahead(dataset: Dataset) -> None:
    offline, streamed = run(dataset), run(dataset, STREAMING)
    assert (offline.figures.alarm, offline.figures.localization, offline.figures.lookahead) == (None, None, ())
    assert offline.figures.frames is not None
    assert offline.figures.frames.auc == pytest.approx(streamed.figures.lookahead[-1].auc)
    for one, other in zip(offline.videos, streamed.videos, strict=True):
        np.testing.assert_allclose(one.scores[None], other.scores[None], atol=1e-6)


def test_another_stride_and_split(dataset: Dataset) -> None:
    result = run(dataset, EvaluationSettings(stride=3))
    assert (result.model.stride, result.videos[0].stride, len(result.videos[0].seconds)) == (3, 3, 8)
    training = run(dataset, EvaluationSettings(split="train", streaming=True))
    assert [video.name for video in training.videos] == ["t0.mp4"]
    assert (training.figures.frames, training.figures.videos) == (None, None)
    assert training.figures.alarm is not None
    assert training.figures.alarm.anomalies == 0


def test_video_labels_alone_give_video_level_figures(tmp_path: Path) -> None:
    result = run(load_dataset(write_dataset(tmp_path, annotated=False)), STREAMING)
    assert (result.figures.frames, result.figures.classes, result.figures.localization) == (None, {}, None)
    assert result.figures.videos is not None
    assert result.figures.alarm is not None
    assert not result.figures.alarm.timed
    assert result.figures.lookahead[0].auc == result.figures.videos.auc
    assert any("AUC and AP are of whole videos" in note for note in result.notes)


def test_the_unreadable_and_the_misannotated_are_skipped_and_told(dataset: Dataset, tmp_path: Path) -> None:
    text = videos.write_text_as_video(tmp_path / "text.mp4")
    n0, n1, x0, x1, t0 = dataset.videos
    late = dataclasses.replace(x1, frame_ranges=((999, 1000),), boxes=None)
    result = run(dataclasses.replace(dataset, videos=(dataclasses.replace(n0, path=text), n1, x0, late, t0)))
    assert [video.name for video in result.videos] == ["n1.mp4", "x0.mp4"]
    (first, why_first), (second, why_second) = result.skipped
    assert (first, second) == ("n0.mp4", "x1.mp4")
    assert "is not a video that FFmpeg knows" in why_first
    assert "its annotation begins at frame 999" in why_second
    unreadable = tuple(dataclasses.replace(video, path=text) for video in dataset.videos)
    with pytest.raises(UsageError, match=r"no video of '.*', test, can be used; the first, n0.mp4: .* is not a video"):
        run(dataclasses.replace(dataset, videos=unreadable))


def test_splits_that_allow_no_figure_are_refused_before_anything_is_opened(dataset: Dataset) -> None:
    offline = EvaluationSettings()
    normal = tuple(video for video in dataset.videos if video.is_normal)
    with pytest.raises(UsageError, match=r"all 2 videos .* are normal: no AUC is defined"):
        videos_of(dataclasses.replace(dataset, videos=normal), offline)
    abnormal = tuple(video for video in dataset.videos if not video.is_normal)
    assert videos_of(dataclasses.replace(dataset, videos=abnormal), offline) == abnormal
    unknown = tuple(dataclasses.replace(video, frame_ranges=None, boxes=None) for video in abnormal)
    with pytest.raises(UsageError, match="are abnormal, and no frame is annotated"):
        videos_of(dataclasses.replace(dataset, videos=unknown), offline)
    with pytest.raises(UsageError, match=r"has no videos in test: 1 in train, 0 in test"):
        videos_of(dataclasses.replace(dataset, videos=dataset.videos[-1:]), offline)


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"processes": 0}])
def test_settings_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(UsageError, match="must be 1 or more, got 0"):
        EvaluationSettings(**wrong)


def test_an_open_backend_serves_one_process(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="an open backend serves one process, not 2"):
        run(dataset, EvaluationSettings(processes=2))


def test_missing_scikit_learn_is_told_before_the_first_video(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    bundle = tiny_bundle()
    backend = FakeBackend(bundle)
    with pytest.raises(EnvironmentFailure, match="scikit-learn cannot be imported"):
        evaluate_bundle(bundle, dataset, backend=backend)
    assert backend.encoded == []
