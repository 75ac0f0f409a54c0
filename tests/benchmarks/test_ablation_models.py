"""Variants of the ablation: the full one is the package's own training, the others differ where their name says."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.ablation_models import (  # noqa: E402
    FULL,
    Variant,
    VariantFit,
    VariantModel,
    aggregated,
    largest_attention,
)
from stprompt_edge.features.files import VideoFeatures  # noqa: E402
from stprompt_edge.features.records import FeatureOrigin  # noqa: E402
from stprompt_edge.model.clip import Clip, load_clip  # noqa: E402
from stprompt_edge.training.batches import FeatureVideo  # noqa: E402
from stprompt_edge.training.fit import Fit  # noqa: E402
from stprompt_edge.training.methods import TOTAL, Task  # noqa: E402
from stprompt_edge.training.recipe import Recipe  # noqa: E402
from stprompt_edge.vocabulary import vocabulary_from_dict  # noqa: E402

WIDTH, FRAMES, WINDOWS, SELECTED = 128, 6, 9, 3


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("stprompt-demo-16", "none")


@pytest.fixture(scope="module")
def task(clip: Clip) -> Task:
    vocabulary = vocabulary_from_dict({"name": "one", "normal_phrases": ["a street"], "classes": [{"name": "fire"}]})
    return Task(clip=clip, vocabulary=vocabulary, recipe=Recipe(epochs=1, batch=8, learning_rate=1e-3))


def noise_videos() -> list[FeatureVideo]:
    rng = np.random.default_rng(0)
    draw = lambda length: rng.normal(size=(length, WIDTH)).astype(np.float32)  # noqa: E731
    return [FeatureVideo(name=str(n), label=n % 2, x_clip=draw(3 + n), x_as=draw(3 + n)) for n in range(4)]


@pytest.fixture
def features() -> VideoFeatures:
    rng = np.random.default_rng(0)
    origin = FeatureOrigin(
        clip="c", pretrained="none", seed=0, weights_sha256="0" * 64, precision="fp32", encoder_sha256=None,
        stride=4, windows=SELECTED, motion_timing="centered",
    )  # fmt: skip
    return VideoFeatures(
        origin=origin,
        seconds_between_samples=0.4,
        x_clip=rng.normal(size=(FRAMES, WIDTH)).astype(np.float32),
        x_as=np.zeros((FRAMES, WIDTH), np.float32),
        motion=rng.random((FRAMES, WINDOWS)).astype(np.float32),
        windows=rng.normal(size=(FRAMES, WINDOWS, WIDTH)).astype(np.float32),
    )


def test_the_full_variant_is_the_packages_own_training(task: Task) -> None:
    ours, shipped = VariantFit(task, noise_videos(), FULL), Fit(task, noise_videos())
    assert ours.epoch(0) == shipped.epoch(0)
    for name, tensor in shipped.model.state_dict().items():
        assert torch.equal(ours.model.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("branches", "parts"),
    [
        ("c", {"classification": 1.0}),
        ("a", {"alignment": 0.9, "contrastive": 2.0}),
        ("both", {"classification": 1.0, "alignment": 0.9, "contrastive": 2.0}),
    ],
)
def test_a_branch_is_trained_with_its_own_losses(task: Task, branches: str, parts: dict[str, float]) -> None:
    fit = VariantFit(task, noise_videos(), replace(FULL, branches=branches))
    with torch.inference_mode():
        losses = fit.method.judge(noise_videos()).losses
    assert float(losses[TOTAL]) == pytest.approx(sum(weight * float(losses[name]) for name, weight in parts.items()))
    assert fit.epoch(0) is not None


@pytest.mark.parametrize(("branches", "score"), [("c", "c"), ("a", "a"), ("both", "a")])
def test_which_branch_scores(branches: str, score: str) -> None:
    assert Variant(branches=branches).score == score


def test_aggregations(features: VideoFeatures) -> None:
    found = {name: aggregated(features, replace(FULL, aggregation=name)) for name in
             ("none", "average", "attention", "selection", "sa2")}  # fmt: skip
    assert all(x_as.shape == (FRAMES, WIDTH) and x_as.dtype == np.float32 for x_as in found.values())
    assert not found["none"].any()
    np.testing.assert_allclose(found["average"], features.windows.mean(axis=1), atol=1e-6)
    top = np.argsort(-features.motion, axis=1)[:, :SELECTED]
    chosen = np.take_along_axis(features.windows, top[..., None], axis=1)
    np.testing.assert_allclose(found["selection"], chosen.mean(axis=1), atol=1e-6)
    weights = np.exp(np.take_along_axis(features.motion, top, axis=1))
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["sa2"], (weights[..., None] * chosen).sum(axis=1), atol=1e-6)


def test_a_large_scale_looks_at_one_window_and_none_at_all_equally(features: VideoFeatures) -> None:
    sharp, flat = replace(FULL, motion_scale=1e4), replace(FULL, motion_scale=0.0)
    np.testing.assert_allclose(
        aggregated(features, sharp), features.windows[np.arange(FRAMES), features.motion.argmax(axis=1)], atol=1e-5
    )
    assert largest_attention(features, sharp) == pytest.approx(np.ones(FRAMES))
    assert largest_attention(features, flat) == pytest.approx(np.full(FRAMES, 1 / SELECTED))


def test_feature_motion_selects_by_embeddings(features: VideoFeatures) -> None:
    by_pixel, by_feature = aggregated(features, FULL), aggregated(features, replace(FULL, motion="feature"))
    assert not np.allclose(by_pixel, by_feature)


@pytest.mark.parametrize("temporal", ["none", "transformer", "both", "distance"])
def test_padding_changes_nothing(clip: Clip, temporal: str) -> None:
    model = VariantModel(clip, ("normal", "fire"), 1.0, temporal).eval()
    x = torch.randn(2, 2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([x, torch.full((2, 2, 3, WIDTH), 9.0)], dim=2)
    with torch.inference_mode():
        prompts = model.prompts()
        alone = model(x[0, 0], x[1, 0])
        batched = model.with_prompts(padded[0], padded[1], prompts, torch.tensor([5, 5]))
    for one, many in zip(alone, batched, strict=True):
        torch.testing.assert_close(many[0, :5], one)
