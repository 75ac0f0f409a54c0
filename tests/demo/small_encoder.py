"""A ViT of two layers with seeded weights, and a zero-shot bundle of its fp32 graph: quick to trace and to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
from safetensors.numpy import save

from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, TEXT_NAME, Bundle, load_bundle
from stprompt_edge.export.graphs import export_encoder
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import load_clip
from stprompt_edge.model.encoder import PackedEncoder
from tests.bundles import unit_rows, write_fake_bundle

NAME, WIDTH = "tiny-test-16", 32
CONFIG: dict[str, Any] = {
    "embed_dim": WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def small_graph(folder: Path) -> bytes:
    """Registers the architecture and traces seed 0; takes seconds."""
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    encoder = PackedEncoder(load_clip(NAME, "none", 0).model.visual, Geometry()).eval()
    return export_encoder(encoder).SerializeToString()


def small_bundle(path: Path, graph: bytes, **clip: Any) -> Bundle:
    """A bundle of the graph whose clip section says `clip`; the truth by default."""
    text = {
        "label_prompts": unit_rows(3, WIDTH),
        "normal_phrases": unit_rows(2, WIDTH),
        "abnormal_phrases": unit_rows(3, WIDTH),
    }
    write_fake_bundle(
        path,
        files={ENCODER_NAMES["fp32"]: graph, ENCODER_NAMES["cpu8"]: None, HEADS_NAME: None, TEXT_NAME: save(text)},
        clip={"model": NAME, "pretrained": "none", "seed": 0, "embedding_width": WIDTH, **clip},
        method={"name": "zero-shot"},
    )
    return load_bundle(path)
