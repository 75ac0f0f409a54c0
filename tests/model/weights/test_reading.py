"""Every form in which CLIP's weights are had, written from known weights: the model gets these and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from stprompt_edge.model.clip import Clip, embed_texts, load_clip
from tests.model.weights.forms import (
    FORMS,
    HALF_FORMS,
    TINY,
    TINY_QUICK,
    State,
    module_tree,
    save_torchscript,
)


def embeddings(clip: Clip) -> tuple[Tensor, Tensor]:
    """Of one image and one text."""
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return clip.model.encode_image(image), embed_texts(clip, ["a man runs"])


def put_in(clip: Clip, state: State) -> tuple[Tensor, Tensor]:
    """The embeddings that these weights give, set by torch itself."""
    import open_clip

    model = open_clip.create_model(clip.name, load_weights=False).eval()
    model.load_state_dict(state)
    return embeddings(
        Clip(name="", pretrained="", seed=0, model=model, tokenize=clip.tokenize, preprocessing=clip.preprocessing)
    )


@pytest.mark.parametrize("name", FORMS)
def test_the_weights_are_those_that_were_put_in(tmp_path: Path, tiny: Clip, state: State, name: str) -> None:
    FORMS[name](tmp_path / name, state)
    loaded = load_clip(TINY, str(tmp_path / name))
    assert loaded.pretrained == name
    got = loaded.model.state_dict()
    assert got.keys() == state.keys()
    assert all(torch.equal(got[key], state[key]) for key in state)
    for mine, theirs in zip(embeddings(loaded), put_in(tiny, state), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", HALF_FORMS)
def test_half_precision_becomes_float32(tmp_path: Path, state: State, name: str) -> None:
    HALF_FORMS[name](tmp_path / name, state)
    loaded = load_clip(TINY_QUICK, str(tmp_path / name))
    got, halves = loaded.model.state_dict(), {key: tensor.half().float() for key, tensor in state.items()}
    assert got.keys() == state.keys()
    assert all(torch.equal(got[key], halves[key]) for key in state)
    for mine, theirs in zip(embeddings(loaded), put_in(load_clip(TINY_QUICK, "none"), halves), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_temperature_may_be_a_number_or_a_vector_of_one(
    tmp_path: Path, state: State, shape: tuple[int, ...]
) -> None:
    torch.save({**state, "logit_scale": torch.full(shape, 3.5)}, tmp_path / "w.pt")
    assert load_clip(TINY, str(tmp_path / "w.pt")).model.logit_scale.item() == 3.5


def test_a_stored_view_keeps_its_order(tmp_path: Path, state: State) -> None:
    """Weights that lie transposed, or in a part of a shared storage, as archives have them."""
    module = module_tree(state)
    shared = torch.randn(100, 70)
    module.visual.proj = torch.nn.Parameter(shared[20:52, 3:67].T, requires_grad=False)  # type: ignore[union-attr]
    save_torchscript(tmp_path / "view.pt", module)
    got = load_clip(TINY, str(tmp_path / "view.pt")).model.visual.proj
    assert torch.equal(got, shared[20:52, 3:67].T)
