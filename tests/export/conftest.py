"""Exported bundles, each made once for the whole run, whichever of its processes needs it first."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle, MethodSection, load_bundle
from stprompt_edge.export import ExportSettings, Model, export_bundle, exporting
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.vocabulary import load_vocabulary


@pytest.fixture(scope="session", autouse=True)
def trace_each_encoder_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tracing takes most of an export's time, and gives the same graph for the same weights, in any process."""
    trace = exporting.export_encoder

    def once(encoder: PackedEncoder) -> onnx.ModelProto:
        sums = [float(parameter.double().sum()) for parameter in encoder.parameters()]
        name = f"traced-{hashlib.sha256(repr(sums).encode()).hexdigest()}"
        path = made_once(tmp_path_factory, name, lambda path: path.write_bytes(trace(encoder).SerializeToString()))
        return onnx.load(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "export_encoder", once)
        patch.setattr(exporting, "PARITY_FRAMES", 3)  # the tests of parity look at more, from real footage
        yield


def load_short(name: str, pretrained: str, seed: int = 0) -> Clip:
    """As `load_clip`, with two layers: others only take long to trace."""
    clip = load_clip(name, pretrained, seed)
    del clip.model.visual.transformer.resblocks[2:]
    return clip


@pytest.fixture(scope="session")
def demo_clip() -> Clip:
    """stprompt-demo-16 with seeded random weights and two of its six layers."""
    return load_short("stprompt-demo-16", "none")


@pytest.fixture
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """What export loads by its name is as short as `demo_clip`."""
    monkeypatch.setattr(exporting, "load_clip", load_short)


@pytest.fixture(scope="session")
def stprompt_model(demo_clip: Clip) -> Model:
    """A small STPrompt with seeded weights."""
    vocabulary = load_vocabulary("ubnormal")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = STPrompt(demo_clip, vocabulary.class_names, 1.0).eval().requires_grad_(False)
    method = MethodSection(name="stprompt", stride=4, seconds_between_samples=0.16)
    return Model(clip=demo_clip, vocabulary=vocabulary, method=method, trained=trained, training={"note": "seeded"})


@pytest.fixture(scope="session")
def ranking_model(demo_clip: Clip) -> Model:
    """A small model of the ranking method with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = MilRanking(128, 1.0).eval().requires_grad_(False)
    method = MethodSection(name="mil-ranking", windows=49, stride=4, motion_timing="causal")
    return Model(clip=demo_clip, vocabulary=load_vocabulary("ubnormal"), method=method, trained=trained, training={})


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder of that name; other processes wait until the first has made it."""
    own = factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / name).exists():
            make(root / name)
    return root / name


@pytest.fixture(scope="session")
def ranking_bundle(ranking_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """fp32 and cpu8 of `ranking_model`."""
    settings = ExportSettings(precisions=("fp32", "cpu8"), parity_video=DEMO_CLIP)
    return load_bundle(
        made_once(tmp_path_factory, "ranking", lambda path: export_bundle(ranking_model, path, settings))
    )


@pytest.fixture(scope="session")
def small_bundle(stprompt_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """All three precisions of `stprompt_model`."""
    settings = ExportSettings(parity_video=DEMO_CLIP)
    return load_bundle(made_once(tmp_path_factory, "small", lambda path: export_bundle(stprompt_model, path, settings)))


@pytest.fixture(scope="session")
def vit_bundle(vit_b_16: Clip, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """All three precisions of a zero-shot ViT-B-16-quickgelu."""
    model = Model.zero_shot(vit_b_16, load_vocabulary("ucf-crime"), stride=16)
    settings = ExportSettings(parity_video=DEMO_CLIP)
    return load_bundle(made_once(tmp_path_factory, "vit", lambda path: export_bundle(model, path, settings)))
