"""A CLIP that is small enough to be written in every form."""

from __future__ import annotations

import json

import pytest
import torch

from stprompt_edge.model.clip import Clip, load_clip
from tests.model.weights.forms import TINY, TINY_QUICK, State

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A small ViT CLIP with seeded random weights, under names that open_clip knows from then on."""
    import open_clip

    folder = tmp_path_factory.mktemp("configs")
    (folder / f"{TINY}.json").write_text(json.dumps(CONFIG))
    (folder / f"{TINY_QUICK}.json").write_text(json.dumps({**CONFIG, "quick_gelu": True}))
    open_clip.add_model_config(folder)
    return load_clip(TINY, "none", seed=3)


@pytest.fixture(scope="session")
def state(tiny: Clip) -> State:
    """Its weights, changed a little so that no two are alike, and none is what a layer starts with."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: tensor + 0.01 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in tiny.model.state_dict().items()
    }
