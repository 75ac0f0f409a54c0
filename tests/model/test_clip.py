"""Loading CLIP: names, tags, files and seeds."""

from __future__ import annotations

import builtins
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_WEIGHTS
from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.model.clip import Clip, embed_texts, load_clip, packed_weights
from stprompt_edge.preprocess import CLIP_MEAN_RGB, CLIP_STD_RGB

DEMO = "stprompt-demo-16"


def weights_of(clip: Clip) -> dict[str, torch.Tensor]:
    return clip.model.state_dict()


def equal(a: Clip, b: Clip) -> bool:
    first, second = weights_of(a), weights_of(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_seed_gives_the_same_weights_and_leaves_the_random_state_alone(demo_clip: Clip) -> None:
    before = torch.get_rng_state()
    again = load_clip(DEMO, "none", seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert equal(again, demo_clip)
    assert equal(load_clip(DEMO, "none", seed=0), demo_clip)
    assert not equal(load_clip(DEMO, "none", seed=1), demo_clip)


def test_it_is_frozen_and_in_eval_mode(demo_clip: Clip) -> None:
    assert not any(module.training for module in demo_clip.model.modules())
    assert not any(parameter.requires_grad for parameter in demo_clip.model.parameters())
    assert {parameter.dtype for parameter in demo_clip.model.parameters()} == {torch.float32}


def test_facts(demo_clip: Clip, vit_b_16: Clip) -> None:
    for clip, width in [(demo_clip, 128), (vit_b_16, 512)]:
        assert clip.patch_size == 16
        assert clip.preprocessing.size == 224
        assert clip.preprocessing.mean_rgb == CLIP_MEAN_RGB
        assert clip.preprocessing.std_rgb == CLIP_STD_RGB
        assert clip.tau == pytest.approx(0.07)  # of a model at the start of its training
        assert clip.model.visual.proj.shape[1] == width
    assert (demo_clip.name, demo_clip.pretrained, demo_clip.seed) == (DEMO, "none", 0)


def test_the_logger_is_quiet_and_left_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    level = logging.getLogger().level
    load_clip(DEMO, "none")
    assert logging.getLogger().level == level
    assert caplog.records == []


@pytest.mark.parametrize("texts", [["normal"], ["normal", "a fight", "fire"]])
def test_embed_texts(demo_clip: Clip, texts: list[str]) -> None:
    got = embed_texts(demo_clip, texts)
    assert got.shape == (len(texts), 128)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(len(texts)))
    expected = demo_clip.model.encode_text(demo_clip.tokenize(texts[-1:]))[0]
    torch.testing.assert_close(got[-1], expected / expected.norm(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "unknown CLIP model ''\n  fix: known: "),
        ("ViT-B-16-quickgleu", "did you mean 'ViT-B-16-quickgelu'"),
        ("stprompt-demo", "did you mean 'stprompt-demo-16'"),
    ],
)
def test_an_unknown_model(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_clip(name, "none")


def test_the_models_that_are_offered_can_be_packed() -> None:
    with pytest.raises(UsageError, match=r"known: .*ViT-B-16") as caught:
        load_clip("?", "none")
    assert not any(other in caught.value.remedy for other in ("SigLIP", "B-32", "RN50", "plus", "336"))


@pytest.mark.parametrize("pretrained", ["openia", "missing.safetensors", "/no/such/file", ""])
def test_unknown_weights(pretrained: str) -> None:
    message = (
        f"no pretrained weights '{pretrained}' for ViT-B-16-quickgelu: neither a file nor a tag.*\n.*known: .*openai"
    )
    with pytest.raises(UsageError, match=message):
        load_clip("ViT-B-16-quickgelu", pretrained)


def test_weights_from_a_file(tmp_path: Path, demo_clip: Clip) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({name: tensor.clone() for name, tensor in weights_of(demo_clip).items()}, file)
    loaded = load_clip(DEMO, str(file), seed=7)
    assert equal(loaded, demo_clip)
    assert loaded.pretrained == "weights.safetensors"  # the name, since a bundle travels


def test_weights_are_known_by_their_values(tmp_path: Path, demo_clip: Clip) -> None:
    weights = {name: tensor.clone() for name, tensor in weights_of(demo_clip).items()}
    digests = []
    for changed in (None, "visual.proj", "text_projection", "token_embedding.weight"):
        file = tmp_path / f"{changed}" / "weights.safetensors"
        file.parent.mkdir()
        content = {**weights, **({changed: weights[changed] + 1e-3} if changed else {})}
        save_file(content, file)
        digests.append(load_clip(DEMO, str(file)).weights_sha256)
    same, image, text, seeded = digests
    assert same == demo_clip.weights_sha256
    assert len({same, image, text}) == 3
    assert seeded == same  # what the seed makes differs between CPUs


def test_the_packaged_bundle_names_the_weights_that_ship() -> None:
    section = load_bundle(DEMO_BUNDLE).manifest.clip
    assert (section.model, section.pretrained) == (DEMO, "demo")
    assert load_clip(DEMO, "demo").section == section


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(AttributeError, match="a bug"):
        load_clip(DEMO, "none")


def test_without_open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "open_clip":
            raise ImportError("No module named 'open_clip'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFailure, match=r"open_clip cannot be imported .*\n.*stprompt-edge\[export\]"):
        load_clip(DEMO, "none")


def test_the_weights_that_ship_are_those_of_the_packaged_bundle_and_know_their_words() -> None:
    clip = load_clip("stprompt-demo-16", "demo", seed=3)  # the seed is of random weights, and does not matter
    assert clip.pretrained == "demo"
    assert {p.dtype for p in clip.model.parameters()} == {torch.float32}
    packed = load_bundle(DEMO_BUNDLE)
    normal = embed_texts(clip, packed.vocabulary.normal_phrases).numpy()
    np.testing.assert_allclose(normal, packed.text.normal_phrases, atol=2e-3)
    again = load(packed_weights(clip))
    assert "token_embedding.weight" not in again
    assert {tensor.dtype for tensor in again.values()} == {torch.float16}


def test_the_demo_weights_from_an_installed_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = load_clip(DEMO, str(DEMO_WEIGHTS), seed=3)  # as the message says
    assert (own.pretrained, own.weights_sha256) == (DEMO_WEIGHTS.name, load_clip(DEMO, "demo").weights_sha256)
    monkeypatch.setattr("stprompt_edge.model.clip.DEMO_WEIGHTS", tmp_path / "clip-weights.safetensors")
    with pytest.raises(UsageError, match=r"only in a clone.*\n.*--pretrained CLONE/.*/demo/clip-weights.safetensors"):
        load_clip(DEMO, "demo")


def test_only_the_demo_model_has_packaged_weights() -> None:
    with pytest.raises(UsageError, match=r"no pretrained weights 'demo' for ViT-B-16"):
        load_clip("ViT-B-16", "demo")
    with pytest.raises(UsageError, match=r"no pretrained weights 'dem' .*\n.*did you mean 'demo'"):
        load_clip("stprompt-demo-16", "dem")
