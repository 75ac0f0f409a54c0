"""A bundle for people."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import AlarmSection, ParityFigures, cautions, describe_bundle
from tests.runtime.tiny import tiny_bundle


@pytest.mark.parametrize(
    ("clip", "source", "told"),
    [
        ({"model": "stprompt-demo-16", "pretrained": "demo"}, "street.mp4", "trained on rendered scenes only"),
        ({"model": "stprompt-demo-16", "pretrained": "mine.safetensors"}, "", "trained on rendered scenes only"),
        ({"model": "stprompt-demo-16", "pretrained": "demo"}, str(DEMO_CLIP), None),  # is a rendered scene
        ({"model": "stprompt-demo-16", "pretrained": "none"}, "street.mp4", "weights are random"),
        ({"model": "ViT-B-16-quickgelu", "pretrained": "none"}, str(DEMO_CLIP), "weights are random"),
        ({"model": "ViT-B-16-quickgelu", "pretrained": "openai"}, "street.mp4", None),
    ],
)
def test_what_to_know_of_a_bundle(clip: dict[str, str], source: str, told: str | None) -> None:
    bundle = tiny_bundle()
    section = bundle.manifest.clip.model_copy(update=clip)
    manifest = bundle.manifest.model_copy(update={"clip": section})
    found = cautions(dataclasses.replace(bundle, manifest=manifest), source)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


@pytest.mark.parametrize(
    ("training", "forced", "lines"),
    [
        (None, False, {"training": "none: scores are not calibrated"}),
        ({"data": "scenes", "AUC": 0.9}, False, {"training": "data scenes, AUC 0.9"}),
        (None, True, {"cpu8 against fp32": "cosine 0.99900 or more, score difference 0.0100 or less, on 8 frames, "
                                           "kept by force"}),
    ],
)  # fmt: skip
def test_a_bundle_described_for_people(training: Any, forced: bool, lines: dict[str, str]) -> None:
    bundle = tiny_bundle(alarm=AlarmSection())
    figures = ParityFigures(
        min_cosine=0.999, max_score_difference=0.01, frames=8, source="clip", accepted_by_force=forced
    )
    parity = {"cpu8": figures} if forced else {}
    manifest = bundle.manifest.model_copy(update={"training": training, "parity": parity})
    facts = describe_bundle(dataclasses.replace(bundle, manifest=manifest))
    assert lines.items() <= facts.items()
    assert facts["CLIP"] == "tiny (random, seed 0)"
    assert facts["motion"] == "pixel, centered, 12 of 49 windows"
