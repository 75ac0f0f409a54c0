"""A small bundle without torch: every file of a real one, with bytes in place of graphs. And ways to damage it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from stprompt_edge.bundle import (
    ENCODER_NAMES,
    HEADS_NAME,
    MANIFEST_NAME,
    TEXT_NAME,
    Bundle,
    Manifest,
    describe_file,
    seal_bundle,
    staged_folder,
)
from stprompt_edge.preprocess import CLIP_MEAN_RGB, CLIP_STD_RGB

WIDTH = 8
VOCABULARY = {
    "name": "two",
    "normal_phrases": ["people walking", "an empty street"],
    "classes": [{"name": "fighting", "phrases": ["people punching each other"]}, {"name": "fire"}],
}


def fake_manifest(**sections: Any) -> Manifest:
    """A manifest; a mapping given for a section changes the keys it names, anything else replaces the section."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "created_by": "tests",
        "clip": {
            "model": "fake",
            "pretrained": "none",
            "seed": 0,
            "embedding_width": WIDTH,
            "weights_sha256": "0" * 64,
        },
        "preprocessing": {"size": 224, "mean_rgb": CLIP_MEAN_RGB, "std_rgb": CLIP_STD_RGB},
        "geometry": {
            "image_size": 224,
            "patch_size": 16,
            "fine": {"size": 32, "stride": 32},
            "coarse": {"size": 80, "stride": 48},
        },
        "method": {"name": "stprompt"},
        "localization": {},
        "alarm": {},
        "vocabulary": VOCABULARY,
    }
    for name, change in sections.items():
        old = content.get(name)
        content[name] = {**old, **change} if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return Manifest.model_validate(content)


def unit_rows(count: int, width: int = WIDTH, seed: int = 0) -> NDArray[np.float32]:
    """[count, width] float32 of unit length."""
    rows = np.random.default_rng(seed).standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fake_text() -> dict[str, NDArray[np.float32]]:
    """The tensors that `VOCABULARY` needs."""
    return {
        "label_prompts": unit_rows(3, seed=0),
        "normal_phrases": unit_rows(2, seed=1),
        "abnormal_phrases": unit_rows(3, seed=2),
    }


def write_fake_bundle(path: Path, *, files: Mapping[str, bytes | None] | None = None, **sections: Any) -> Bundle:
    """A complete bundle: fp32 and cpu8 encoders, heads, text.

    Args:
        path: of the folder to make.
        files: contents to use instead; None leaves a file out.
        sections: see `fake_manifest`.
    """
    contents: dict[str, bytes | None] = {
        ENCODER_NAMES["fp32"]: b"an fp32 encoder",
        ENCODER_NAMES["cpu8"]: b"a cpu8 encoder",
        HEADS_NAME: b"heads",
        TEXT_NAME: save(fake_text()),
        **(files or {}),
    }
    with staged_folder(path) as folder:
        for name, content in contents.items():
            if content is not None:
                (folder / name).write_bytes(content)
        return Bundle(**{**vars(seal_bundle(folder, fake_manifest(**sections))), "path": path})


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change bundle.json in place, whether it fits afterwards or not."""
    file = path / MANIFEST_NAME
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def replace_file(path: Path, name: str, content: bytes) -> None:
    """Other content for a file, with the digest that belongs to it."""
    (path / name).write_bytes(content)
    entry = describe_file(path / name).model_dump()
    edit_manifest(path, lambda manifest: manifest["files"].update({name: entry}))
