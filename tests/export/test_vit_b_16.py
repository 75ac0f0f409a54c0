"""The export of a full ViT-B/16, on real footage; together, since making it takes more than all of these tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, Bundle
from stprompt_edge.export.parity import compare, read_parity_frames, trace
from stprompt_edge.model.clip import Clip, embed_texts
from stprompt_edge.vocabulary import load_vocabulary
from tests.export import test_half, test_quantize


@pytest.mark.parametrize("precision", ["fp16", "cpu8"])
@pytest.mark.parametrize("video", [0, 1])
def test_reduced_precisions_agree_on_footage(
    footage: list[Path], vit_bundle: Bundle, precision: str, video: int
) -> None:
    frames = read_parity_frames(footage[video], 3)
    reference, candidate = (trace(vit_bundle, p, frames, lambda: None) for p in ("fp32", precision))
    figures = compare(candidate, reference, footage[video].name)
    assert figures.frames == 3
    assert figures.min_cosine >= 0.999
    assert figures.max_score_difference <= 0.01


def test_the_manifest_says_how_close_each_precision_is(vit_bundle: Bundle, small_bundle: Bundle) -> None:
    for bundle in (vit_bundle, small_bundle):
        assert set(bundle.manifest.parity) == {"fp16", "cpu8"}
        for figures in bundle.manifest.parity.values():
            assert (figures.frames, figures.source, figures.accepted_by_force) == (3, "clip.mp4", False)
            assert 0.999 <= figures.min_cosine <= 1.000001


def test_zero_shot_embeds_the_class_names(vit_bundle: Bundle, vit_b_16: Clip) -> None:
    vocabulary, text = load_vocabulary("ucf-crime"), vit_bundle.text
    assert HEADS_NAME not in vit_bundle.manifest.files
    assert vit_bundle.manifest.training is None
    for got, texts in [
        (text.label_prompts, vocabulary.class_names),
        (text.abnormal_phrases, vocabulary.abnormal_phrases),
    ]:
        np.testing.assert_allclose(got, embed_texts(vit_b_16, texts), atol=1e-5)


def test_its_encoders_keep_the_rules(vit_bundle: Bundle) -> None:
    test_half.check_encoder(vit_bundle)
    test_quantize.check_encoder(vit_bundle)


def test_the_file_is_about_half_as_large(vit_bundle: Bundle) -> None:
    sizes = {p: vit_bundle.manifest.files[ENCODER_NAMES[p]].bytes for p in ("fp32", "fp16")}
    assert 0.49 < sizes["fp16"] / sizes["fp32"] < 0.52
