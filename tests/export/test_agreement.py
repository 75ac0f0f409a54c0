"""Train, export, run: the checkpoint's scores in torch, the bundle's, and those of the stream are the same."""

import json
import re
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from demo.scenes import render_dataset
from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle
from stprompt_edge.cli.app import app
from stprompt_edge.datasets import load_dataset
from stprompt_edge.evaluation import EvaluationSettings
from stprompt_edge.evaluation.evaluating import evaluate_path
from stprompt_edge.export import Model
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.aggregation import aggregate, pixel_motion, select_windows
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.clip import DEMO_MODEL, DEMO_TAG, load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.preprocess import preprocess
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.sources import open_source

FRAMES = 24
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-3, "cpu8": 0.01}


@pytest.fixture(scope="module")
def frames() -> list[CameraFrame]:
    """Sampled frames in which things move."""
    with open_source(str(DEMO_CLIP)) as source:
        return list(islice(source.frames(lambda index: index % 4 == 0), FRAMES))


@pytest.fixture(scope="module")
def torch_scores(stprompt_model: Model, frames: list[CameraFrame]) -> np.ndarray:
    """Eq. 1-5 on the whole video at once, in torch and nothing else."""
    model, geometry, method = stprompt_model.trained, Geometry(), stprompt_model.method
    assert model is not None
    prepared = [preprocess(frame.image_bgr, stprompt_model.clip.preprocessing) for frame in frames]
    luma_THW = torch.from_numpy(np.stack([frame.luma for frame in prepared]))
    motion_TN = pixel_motion(luma_THW, torch.from_numpy(geometry.windows_xyxy(geometry.fine)), method.motion_timing)
    fine_TK = select_windows(motion_TN, method.windows)
    images = torch.from_numpy(np.stack([frame.image for frame in prepared]))
    with torch.inference_mode():
        encoder = PackedEncoder(stprompt_model.clip.model.visual, geometry).eval()
        embedded = encoder(images, fine_TK, fine_TK[:, :0])
        logits = model(embedded.frame, aggregate(embedded.fine, motion_TN.gather(1, fine_TK)))
        return anomaly_score(logits.anomaly_logit, logits.similarity, method.tau, method.score).numpy()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "cpu8"])
def test_the_stream_gives_the_scores_of_the_checkpoint(small_bundle: Bundle, torch_scores, frames, precision):
    with OnnxBackend(small_bundle, precision=precision) as backend:
        observer = Observer(small_bundle, backend, localize="never", lookahead=None)
        found = [item for frame in frames for item in observer.push(frame)] + observer.flush()
    scores = np.array([item.detection.score for item in found])
    np.testing.assert_allclose(scores, torch_scores, atol=TOLERANCE[precision], rtol=0)


# the same through the commands, from rendered videos to evaluations

RECIPE = "stride = 1\nbatch = 2\nsegments = 4\nlearning_rate = 1e-3\nepochs = 2\nsigma = 2.0\n"
ENCODER, WEIGHTS = "one-layer-of-demo-16", "one-layer.safetensors"


def write_one_layer_of_the_demo_encoder(folder: Path) -> Path:
    """Registers the packaged encoder without its other layers, which take long to trace, and writes its weights."""
    config = json.loads((resources.files("stprompt_edge.model") / "configs" / f"{DEMO_MODEL}.json").read_text())
    config["vision_cfg"]["layers"] = 1
    (folder / f"{ENCODER}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    state = load_clip(DEMO_MODEL, DEMO_TAG).model.state_dict()
    first = re.compile(r"visual\.transformer\.resblocks\.[^0]")
    save_file({name: t for name, t in state.items() if not first.match(name)}, folder / WEIGHTS)
    return folder / WEIGHTS


def run(*arguments: object) -> None:
    """A command; our errors are raised."""
    CliRunner().invoke(app, [str(part) for part in arguments], standalone_mode=False, catch_exceptions=False)


def scores_of(model: Path, data: Path, **options: Any) -> np.ndarray:
    """The offline scores of all test videos, one video after the other."""
    found = evaluate_path(model, load_dataset(data, "auto"), EvaluationSettings(**options))
    assert len(found.videos) == 2
    return np.concatenate([video.scores[None] for video in sorted(found.videos, key=lambda video: video.name)])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two rendered videos to train on, two to test on, the features of all, and a recipe."""
    folder = tmp_path_factory.mktemp("commands")
    weights = write_one_layer_of_the_demo_encoder(folder)
    render_dataset(folder / "data", 5, 2, 2, seconds=(10.0, 10.0), fps=2, size_wh=(128, 72))
    (folder / "recipe.toml").write_text(RECIPE)
    encoder = ("--clip", ENCODER, "--pretrained", weights)
    run("export", *encoder, "--vocabulary", "scenes", "--precision", "fp32", "--out", folder / "encoder")
    source = ("extract", folder / "data", "--bundle", folder / "encoder", "--stride", 1)
    run(*source, "--keep", "windows", "--out", folder / "features")
    return folder


@pytest.mark.parametrize(("method", "precision"), [("stprompt", "cpu8"), ("mil-ranking", "fp32")])
def test_the_commands_agree_on_the_scores_of_trained_heads(prepared: Path, method: str, precision: str) -> None:
    data, folder, weights = prepared / "data", prepared / method, prepared / WEIGHTS
    recipe = ("--vocabulary", "scenes", "--recipe", prepared / "recipe.toml", "--method", method)
    run("train", prepared / "features", *recipe, "--pretrained", weights, "--out", folder)
    best, bundle = folder / "best.safetensors", folder / "bundle"
    run("export", best, "--pretrained", weights, "--precision", f"fp32,{precision}", "--out", bundle)
    expected = scores_of(best, data, pretrained=str(weights))
    tolerance = {**TOLERANCE, "fp32": min(TOLERANCE["fp32"], 0.05 * np.ptp(expected))}  # few epochs: all look alike
    for name in sorted({"fp32", precision}):
        for streaming in (False, True):
            got = scores_of(bundle, data, precision=name, streaming=streaming)
            np.testing.assert_allclose(got, expected, atol=tolerance[name], rtol=0)
