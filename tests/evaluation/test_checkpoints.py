"""A checkpoint through the shipped detector, and from features: the same scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch

from stprompt_edge.bundle import Bundle, ClipSection, MethodSection
from stprompt_edge.datasets import Dataset, load_dataset
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.evaluation import checkpoints
from stprompt_edge.evaluation.checkpoints import feature_scores, open_checkpoint
from stprompt_edge.evaluation.evaluating import evaluate_path
from stprompt_edge.evaluation.records import Evaluation, EvaluationSettings
from stprompt_edge.features.extraction import feature_path
from stprompt_edge.features.files import load_features, save_features
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.features.video import extract_video
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.runtime.backends.base import HeadsOutput
from tests.runtime.tiny import VOCABULARY

from .scored import write_dataset

WINDOWS = {"stprompt": 12, "mil-ranking": 49}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_dataset(tmp_path_factory.mktemp("data"), frames=16))


@pytest.fixture
def checkpoint(tmp_path: Path, demo_clip: Clip) -> Callable[..., Path]:
    """Writes a checkpoint of random heads on the demo's CLIP."""

    def write(method: str = "stprompt", **clip: Any) -> Path:
        width = int(demo_clip.model.visual.proj.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = (
                MilRanking(width, 1.0) if method == "mil-ranking" else STPrompt(demo_clip, VOCABULARY.class_names, 1.0)
            )
        section = {**demo_clip.section.model_dump(), **clip}
        path = tmp_path / f"{method}.safetensors"
        save_checkpoint(
            path,
            Checkpoint(
                clip=ClipSection(**section),
                method=MethodSection(name=method, stride=4, windows=WINDOWS[method], motion_timing="causal"),
                vocabulary=VOCABULARY,
                training={},
                weights=model.state_dict(),
            ),
        )
        return path

    return write


def extract(dataset: Dataset, checkpoint: Path, out: Path, *, keep: bool, stride: int = 4, leave_out: str = "") -> Path:
    """The features of the test videos, by the checkpoint's own encoder."""
    model = open_checkpoint(checkpoint, EvaluationSettings(), None)
    for video in dataset.of_split("test"):
        if video.name != leave_out:
            path = feature_path(out, video)
            path.parent.mkdir(parents=True, exist_ok=True)
            origin = FeatureOrigin.of(model.bundle, stride)
            features = extract_video(video.path, model.bundle, model.backend, origin=origin, keep_windows=keep)
            save_features(path, features)
    return out


def run(path: Path, dataset: Dataset, **settings: Any) -> Evaluation:
    return evaluate_path(path, dataset, EvaluationSettings(**settings))


@pytest.mark.parametrize("method", ["stprompt", "mil-ranking"])
def test_features_give_the_scores_of_the_videos(
    method: str, dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint(method)
    direct = run(path, dataset)
    features = extract(dataset, path, tmp_path / "features", keep=method == "mil-ranking")
    stored = run(path, dataset, features=features)
    assert [video.name for video in stored.videos] == [video.name for video in direct.videos]
    for one, other in zip(direct.videos, stored.videos, strict=True):
        np.testing.assert_allclose(one.scores[None], other.scores[None], atol=2e-3)  # features are float16
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.seconds == pytest.approx(other.seconds)
        assert (len(one.anomalies), one.frame_count) == (len(other.anomalies), other.frame_count)
    assert direct.model.kind == "checkpoint"
    assert direct.model.backend.startswith("PyTorch ")
    assert direct.figures.frames is not None
    assert direct.figures.alarm is None


def test_features_that_are_missing_or_of_something_else(
    dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint()
    features = extract(dataset, path, tmp_path / "features", keep=False, leave_out="n0.mp4")
    result = run(path, dataset, features=features)
    assert [name for name, _ in result.skipped] == ["n0.mp4"]
    assert "no features" in result.skipped[0][1]
    with pytest.raises(UsageError, match="was extracted with stride 4, expected 2"):
        run(path, dataset, features=features, stride=2)
    with pytest.raises(UsageError, match="holds no windows, and mil-ranking judges all of them"):
        run(checkpoint("mil-ranking"), dataset, features=features)


def drawn(bundle: Bundle, length: int) -> VideoFeatures:
    """Random features that a checkpoint's bundle takes; windows as they lie in the file."""
    rng, width = np.random.default_rng(0), bundle.manifest.clip.embedding_width
    x_clip, x_as = rng.normal(size=(2, length, width)).astype(np.float16).astype(np.float32)
    return VideoFeatures(
        origin=FeatureOrigin.of(bundle, 4), seconds_between_samples=0.4, x_clip=x_clip, x_as=x_as,
        motion=np.zeros((length, 49), np.float32), windows=rng.normal(size=(length, 49, width)).astype(np.float16),
    )  # fmt: skip


@pytest.mark.parametrize("method", ["stprompt", "mil-ranking"])
def test_long_videos_are_scored_in_blocks_as_if_at_once(
    method: str, checkpoint: Callable[..., Path], demo_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checkpoint(method)
    model, net = open_checkpoint(file, EvaluationSettings(), None), load_checkpoint(file).build(demo_clip)
    features = drawn(model.bundle, 50)
    backend, section = model.backend, model.bundle.manifest.method
    x_clip, x_as, windows = map(torch.from_numpy, (features.x_clip, features.x_as, features.windows))
    with torch.inference_mode():  # with the whole T x T kernel
        if isinstance(net, STPrompt):
            prompts = torch.from_numpy(model.bundle.text.label_prompts)
            logits = net.with_prompts(x_clip, x_as, prompts)
            expected = anomaly_score(logits.anomaly_logit, logits.similarity, section.tau, section.score)
        else:
            expected = torch.sigmoid(net(windows.float()).anomaly_logit)
    path = tmp_path / "features.safetensors"
    save_features(path, features)
    rows: list[int] = []
    heads = backend.heads

    def counted(**inputs: Any) -> HeadsOutput:
        rows.append(len(next(iter(inputs.values()))))
        return heads(**inputs)

    monkeypatch.setattr(backend, "heads", counted)
    monkeypatch.setattr(checkpoints, "_ROWS", 16)
    found = feature_scores(path, load_features(path, windows=False), model)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert rows == [16, 16, 16, 2]


def test_a_damaged_feature_file_costs_its_video_only(
    dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path, folder = checkpoint(), tmp_path / "features"
    bundle = open_checkpoint(path, EvaluationSettings(), None).bundle
    cut, wrong, *whole = dataset.of_split("test")
    for video in (cut, wrong, *whole):
        features = drawn(bundle, 4)
        if video is wrong:
            features.x_clip[1, 3] = np.nan
        feature_path(folder, video).parent.mkdir(parents=True, exist_ok=True)
        save_features(feature_path(folder, video), dataclasses.replace(features, windows=None))
    half = feature_path(folder, cut)
    half.write_bytes(half.read_bytes()[:-1])
    result = run(path, dataset, features=folder)
    assert [video.name for video in result.videos] == [video.name for video in whole]
    (first, why_first), (second, why_second) = result.skipped
    assert (first, second) == (cut.name, wrong.name)
    assert f"{half} is not a feature file of stprompt-edge" in why_first
    assert why_second == f"{feature_path(folder, wrong)}: 1 of 512 values of x_clip are NaN or infinite"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"x_clip": (4, 64), "x_as": (4, 64)}, "has embeddings of width 64, the checkpoint's encoder gives 128"),
        ({"x_clip": (4, 64)}, "x_as has shape [4, 128], expected [4, 64]"),
        ({"x_as": (3, 128)}, "x_as has shape [3, 128], expected [4, 128]"),
        ({"x_clip": (512,)}, "x_clip has shape [512], expected [512, D]"),
        ({"motion": (4, 7)}, "motion has shape [4, 7], and 12 windows were chosen by it"),
        ({name: (0, 128) for name in ("x_clip", "x_as")}, "x_clip has shape [0, 128], expected [T, 128]"),
    ],
)
def test_features_of_a_wrong_shape_cost_their_video_only(
    dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path, shapes: dict[str, tuple[int, ...]], reason: str
) -> None:
    path, folder = checkpoint(), tmp_path / "features"
    bundle = open_checkpoint(path, EvaluationSettings(), None).bundle
    wrong, *whole = dataset.of_split("test")
    for video in (wrong, *whole):
        features = dataclasses.replace(drawn(bundle, 4), windows=None)
        if video is wrong:
            other = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
            features = dataclasses.replace(features, **other)
        feature_path(folder, video).parent.mkdir(parents=True, exist_ok=True)
        save_features(feature_path(folder, video), features)
    result = run(path, dataset, features=folder)
    assert [video.name for video in result.videos] == [video.name for video in whole]
    ((name, why),) = result.skipped
    assert name == wrong.name
    assert why.startswith(str(feature_path(folder, wrong)))
    assert why.endswith(reason)


@pytest.mark.parametrize("damaged", [(0, 8), (20,)])
def test_pictures_that_cannot_be_read_do_not_shift_the_others(
    dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path, damaged: tuple[int, ...]
) -> None:
    path, first = checkpoint(), dataset.of_split("test")[0]
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))
    for index in damaged:
        (folder / f"{index}.png").write_bytes(b"damaged")
    video = dataclasses.replace(first, path=folder, label="fire", frame_ranges=((12, 16),))
    one = dataclasses.replace(dataset, videos=(video,))
    direct = run(path, one).videos[0]
    stored = run(path, one, features=extract(one, path, tmp_path / "features", keep=False)).videos[0]
    np.testing.assert_allclose(direct.scores[None], stored.scores[None], atol=2e-3)
    np.testing.assert_array_equal(direct.labels, stored.labels)
    assert len(stored.seconds) == 6
    assert stored.warnings == ()


def test_features_of_other_weights_of_the_same_name(
    dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint()
    features = extract(dataset, path, tmp_path / "features", keep=False)
    for file in features.rglob("*.safetensors"):
        content = load_features(file)
        other = dataclasses.replace(content.origin, weights_sha256="0" * 64)
        save_features(file, dataclasses.replace(content, origin=other))
    with pytest.raises(UsageError, match=r"extracted with weights_sha256 0{64}, expected .*, weights none and none\n"):
        run(path, dataset, features=features)


def test_features_whose_video_is_not_what_it_was(
    dataset: Dataset, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint()
    features = extract(dataset, path, tmp_path / "features", keep=False)
    first = dataset.videos[0]
    content = first.path.read_bytes()
    first.path.write_bytes(b"")
    try:
        video = run(path, dataset, features=features).videos[0]
    finally:
        first.path.write_bytes(content)
    assert (video.frame_count, video.fps) == (16, 10.0)  # four features of stride 4, 0.4 s apart
    assert video.warnings == ("its number of frames is not known exactly: 16 are assumed",)
    odd = run(path, load_dataset(write_dataset(tmp_path / "other", frames=30)), features=features).videos[0]
    assert odd.warnings == ("its number of frames is not known exactly: 16 are assumed",)


def test_another_encoder_is_refused(dataset: Dataset, checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(CheckFailed, match=r"the checkpoint was trained with --clip stprompt-demo-16 --pretrained x.pt"):
        run(checkpoint(pretrained="x.pt", weights_sha256="0" * 64), dataset, pretrained="none")


def test_what_is_no_checkpoint_is_told(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="is not a checkpoint of stprompt-edge"):
        run(tmp_path / "x.safetensors", dataset)
