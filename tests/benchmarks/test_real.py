"""Divisions, choice of settings and summaries of the comparison on real footage."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks import real
from benchmarks.featured import DEMO_ENCODER
from benchmarks.real import (
    LEARNING_RATES,
    METHODS,
    SUBJECTS,
    TUNING_SEED,
    Subject,
    Trial,
    choose,
    divided,
    grid,
    run,
    summary,
)
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.training.recipe import load_recipe
from stprompt_edge.vocabulary import load_vocabulary
from tests.benchmarks.synthetic import synthetic


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("stprompt-demo-16", "none")


def test_settings_are_chosen_without_test_videos() -> None:
    data = synthetic("surv_fight", train=20, test=10)
    tuning = divided(data, TUNING_SEED)
    assert {video.name for video in tuning.videos} == {video.name for video in data.dataset.of_split("train")}
    assert [len(tuning.of_split(split)) for split in ("train", "test")] == [14, 6]
    assert divided(data, 0) is data.dataset


def test_ped2_is_divided_by_seed() -> None:
    data = synthetic("ped2", train=20, test=10)
    names = [tuple(video.name for video in divided(data, seed).of_split("train")) for seed in (0, 1, TUNING_SEED)]
    assert len(set(names)) == 3
    assert all(len(train) == 10 for train in names)


def test_both_methods_have_the_same_budget() -> None:
    sizes = {len(grid("ped2", DEMO_ENCODER, method)) for method in ("stprompt", "mil-ranking")}
    assert sizes == {len(LEARNING_RATES) * len(SUBJECTS["ped2"].epochs)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=lambda subject: subject.name)
def test_what_is_not_tuned_is_what_train_would_use(subject: Subject, method: str) -> None:
    trial = grid(subject.name, DEMO_ENCODER, method)[0]
    tuned = {"learning_rate", "epochs", "stride", "segments"}
    assert trial.recipe().model_dump(exclude=tuned) == load_recipe(subject.recipe, method).model_dump(exclude=tuned)


def test_the_best_figure_decides_and_then_the_best_heat_threshold() -> None:
    trials = grid("ped2", DEMO_ENCODER, "stprompt")[:2]
    results = [{"auc": 0.6, "tiou": {0.5: 0.9}}, {"auc": 0.7, "tiou": {0.4: 0.1, 0.5: 0.2, 0.6: 0.15}}]
    assert choose(trials, results) == (trials[1], 0.5)
    assert choose(trials[:1], [{"auc": 0.5}]) == (trials[0], None)


def test_summary_takes_tiou_at_one_threshold() -> None:
    repeats = [{"auc": 0.5, "tiou": {0.4: 0.1, 0.5: 0.2}}, {"auc": 0.7, "tiou": {0.4: 0.1, 0.5: 0.4}}]
    found = summary(repeats, 0.5)
    assert found["tiou"]["mean"] == pytest.approx(0.3)
    assert found["auc"]["mean"] == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["ped2", "surv_fight"])
def test_vocabularies_of_the_benchmark_load(name: str) -> None:
    label = "abnormal" if name == "ped2" else "Fighting"
    assert load_vocabulary(name if name == "ped2" else Path(f"benchmarks/{name}.toml")).row_of_label(label) == 1
    assert name in SUBJECTS


@pytest.mark.parametrize("method", ["stprompt", "mil-ranking"])
@pytest.mark.parametrize("subject", ["ped2", "surv_fight"])
def test_a_trial_is_learned_and_scored(subject: str, method: str, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "loaded", lambda subject, encoder: synthetic(subject, train=16))
    monkeypatch.setattr(real, "clip_of", lambda encoder: clip)
    monkeypatch.setattr(real, "heats_of_phrases", lambda subject, encoder: None)
    monkeypatch.setitem(SUBJECTS, subject, replace(SUBJECTS[subject], segments=4))
    figures = run(Trial(subject=subject, encoder=DEMO_ENCODER, method=method, seed=0, learning_rate=1e-3, epochs=15))
    assert figures["video_auc"] > 0.9
    assert set(figures) == {"video_auc"} | ({"auc", "ap"} if subject == "ped2" else set())
