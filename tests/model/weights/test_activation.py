"""Weights of one activation in a model of the other: warned of wherever something tells, and never otherwise."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from stprompt_edge.errors import StpromptEdgeWarning
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.model.weights import Activation, check_activation
from tests.model.weights.forms import (
    TINY,
    TINY_QUICK,
    State,
    Writer,
    module_tree,
    save_openai_archive,
    save_safetensors,
    save_torchscript,
    transformers_names,
)

HUB = "models--laion--CLIP-ViT-B-16-laion2B-s34B-b88K/snapshots/0123/open_clip_model.safetensors"
TIMM = "models--timm--vit_base_patch16_clip_224.openai/snapshots/0123/open_clip_model.safetensors"
QUICK, PLAIN = ("QuickGELU", "GELU"), ("GELU", "QuickGELU")  # trained with, and what the wrong model computes


def warned(clip: str, path: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_clip(clip, str(path))
    return [str(warning.message) for warning in caught if issubclass(warning.category, StpromptEdgeWarning)]


def with_config(name: str, content: Any, writer: Writer) -> Writer:
    def write(path: Path, state: State) -> None:
        writer(path, state)
        (path.parent / name).write_text(content if isinstance(content, str) else json.dumps(content))

    return write


def saved(path: Path, state: State) -> None:
    torch.save(state, path)


def transformers(path: Path, state: State) -> None:
    save_safetensors(path, transformers_names(state))


def as_openai_stores(path: Path, state: State) -> None:
    """The `state_dict` of OpenAI's program: embeddings and layer norms stay in float32."""
    floats = ("embedding", "ln_", "logit_scale")
    torch.save({n: t if any(part in n for part in floats) else t.half() for n, t in state.items()}, path)


@pytest.mark.parametrize(
    ("name", "writer", "trained", "told_by"),
    [
        ("ViT-B-16.pt", save_openai_archive, QUICK, "it is OpenAI's archive"),
        ("clip.pt", as_openai_stores, QUICK, "it is stored as OpenAI's"),
        ("openai.pt", saved, QUICK, "by its name"),
        ("vit_b_16-metaclip_400m.pt", saved, QUICK, "by its name"),
        ("DFN2B.bin", saved, QUICK, "by its name"),
        (TIMM, save_safetensors, QUICK, "by its name"),
        ("vit_b_32-quickgelu-laion400m.pt", saved, QUICK, "by its name"),
        ("vit_b_16-laion400m_e32-55e67d44.pt", saved, PLAIN, "by its name"),
        ("datacomp_xl.pt", saved, PLAIN, "by its name"),
        (HUB, save_safetensors, PLAIN, "by its name"),
        (
            "model.safetensors",
            with_config("config.json", {"model_type": "clip", "vision_config": {"hidden_act": "gelu"}}, transformers),
            PLAIN,
            "config.json",
        ),
        (
            "model.safetensors",
            with_config("config.json", {"model_type": "clip", "vision_config": {}}, transformers),
            QUICK,
            "config.json",
        ),
        (
            "w.bin",
            with_config("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}, saved),
            QUICK,
            "open_clip_config.json",
        ),
        ("openai.bin", with_config("open_clip_config.json", {"model_cfg": {}}, saved), PLAIN, "open_clip_config.json"),
        ("scripted.pt", lambda path, state: save_torchscript(path, module_tree(state)), None, ""),
        ("w.pt", saved, None, ""),
        ("model.safetensors", transformers, None, ""),
        ("model.safetensors", with_config("config.json", "not json", transformers), None, ""),
        ("model.safetensors", with_config("config.json", [1], transformers), None, ""),
        ("model.safetensors", with_config("config.json", {"model_type": "siglip"}, transformers), None, ""),
        ("w.bin", with_config("open_clip_config.json", {}, saved), None, ""),
    ],
)  # fmt: skip
def test_the_other_activation_is_warned_of(
    tmp_path: Path, tiny: Clip, state: State, name: str, writer: Writer, trained: tuple[str, str] | None, told_by: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, state)
    found = {clip: warned(clip, path) for clip in (TINY, TINY_QUICK)}
    if trained is None:
        assert found == {TINY: [], TINY_QUICK: []}
        return
    wrong, right = (TINY, TINY_QUICK) if trained == QUICK else (TINY_QUICK, TINY)
    assert found[right] == []
    (message,) = found[wrong]
    assert message.startswith(f"{path.name} was trained with {trained[0]} ({told_by}")
    assert message.endswith(f"{wrong} computes {trained[1]}: its embeddings will be wrong; pass --clip {right}")


@pytest.mark.parametrize(
    ("name", "quick", "remedy"),
    [
        ("a", True, "pass --clip a-quickgelu"),
        ("b", True, "use a model with QuickGELU"),
        ("c", False, "use a model with GELU"),
    ],
)
def test_the_remedy_names_only_what_there_is(name: str, quick: bool, remedy: str) -> None:
    configs = {"a": {}, "a-quickgelu": {"quick_gelu": True}, "b": {}, "c": {"quick_gelu": True}}
    with pytest.warns(StpromptEdgeWarning, match=f"; {remedy}$"):
        check_activation(name, "w.pt", Activation(quick, "by its name"), configs)
