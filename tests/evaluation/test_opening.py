"""What a path is, and scoring in several processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle
from stprompt_edge.datasets import load_dataset
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.evaluation import opening
from stprompt_edge.evaluation.opening import Plan, plan_for, score_videos
from stprompt_edge.evaluation.records import EvaluationSettings, ScoredVideo
from stprompt_edge.evaluation.scoring import OpenModel
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.backends.opening import Choice
from tests.runtime.tiny import tiny_bundle

from .scored import write_dataset

CHECKPOINT = "best.safetensors"


@pytest.mark.parametrize(
    ("name", "settings", "what", "fix"),
    [
        ("gone", {}, "gone is neither a bundle nor a checkpoint: it is not there", "best.safetensors"),
        ("folder", {}, "neither a bundle nor a checkpoint: it is a folder without bundle.json", "export"),
        (CHECKPOINT, {"streaming": True}, "only bundles run as at the edge", "export it first: stprompt-edge export"),
        (CHECKPOINT, {"precision": "fp16"}, "--precision is for bundles", "leave it out"),
        (
            str(DEMO_BUNDLE),
            {"features": Path("f")},
            "--features and .* are for checkpoints",
            "leave them out",
        ),
        (str(DEMO_BUNDLE), {"pretrained": "openai"}, "are for checkpoints", "leave them out"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, settings: dict[str, Any], what: str, fix: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / CHECKPOINT).write_bytes(b"x")
    with pytest.raises(UsageError, match=what) as caught:
        plan_for(tmp_path / name, EvaluationSettings(**settings))
    assert fix in caught.value.remedy


def test_a_folder_with_a_manifest_is_a_bundle_and_a_file_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"x")
    assert plan_for(DEMO_BUNDLE, EvaluationSettings(streaming=True)).kind == "bundle"
    assert plan_for(tmp_path / CHECKPOINT, EvaluationSettings()).kind == "checkpoint"


def test_unknown_precision() -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError, match="unknown precision 'cpu9'") as caught:
        plan_for(DEMO_BUNDLE, EvaluationSettings(precision="cpu9")).open()
    assert "did you mean 'cpu8'" in caught.value.remedy


def test_processes_give_the_same_scores(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    videos = load_dataset(write_dataset(tmp_path)).of_split("test")[1:3]
    found: dict[int, dict[str, ScoredVideo]] = {}
    seen: list[float] = []
    for processes in (1, 2):
        plan = plan_for(DEMO_BUNDLE, EvaluationSettings(streaming=True, processes=processes))
        model = plan.open(threads=1)
        outcomes = list(score_videos(plan, model, videos, lambda what, done: seen.append(done)))
        assert isinstance(model.backend, OnnxBackend)
        found[processes] = {video.name: scored for video, scored in outcomes if isinstance(scored, ScoredVideo)}
    assert list(found[1]) == sorted(found[2])
    for name, alone in found[1].items():
        np.testing.assert_allclose(alone.scores[0], found[2][name].scores[0], atol=1e-6)
        assert [one.frame for one in alone.located] == [one.frame for one in found[2][name].located]
    assert seen[-2:] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("processes", "videos", "opened"), [(1, 4, "auto"), (2, 4, "OnnxBackend, 1 thread"), (2, 1, "auto")]
)
def test_what_is_named_is_what_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, videos: int, opened: str
) -> None:
    bundle = tiny_bundle()

    def named(description: str) -> FakeBackend:
        backend = FakeBackend(bundle)
        backend.description = description
        return backend

    monkeypatch.setattr(opening, "load_bundle", lambda path: bundle)
    monkeypatch.setattr(opening, "open_backend", lambda name, bundle: Choice(backend=named(name), reason=""))
    monkeypatch.setattr(
        opening, "OnnxBackend", lambda bundle, precision, threads: named(f"OnnxBackend, {threads} thread")
    )
    chosen = load_dataset(write_dataset(tmp_path, frames=2)).of_split("test")[:videos]
    plan = Plan(kind="bundle", path=bundle.path, settings=EvaluationSettings(processes=processes))
    assert plan.open_for(chosen).backend.description == opened


def test_a_killed_process_is_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    videos = load_dataset(write_dataset(tmp_path)).of_split("test")

    def kill_all(name: str, done: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    plan = Plan(kind="bundle", path=DEMO_BUNDLE, settings=EvaluationSettings(processes=2))
    model = OpenModel(bundle=load_bundle(DEMO_BUNDLE), backend=FakeBackend(tiny_bundle()))
    with pytest.raises(EnvironmentFailure, match=r"a process of the evaluation was killed.*\n.*use fewer --processes"):
        list(score_videos(plan, model, videos, kill_all))
