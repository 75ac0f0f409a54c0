"""The literal reading of the paper: each window cropped, enlarged and encoded alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stprompt_edge.errors import UsageError
from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.model.literal import ResizeEncoder, literal_reference, make_encoder

GEOMETRY = Geometry()


@torch.inference_mode()
def test_resize_encoder_equals_encoding_enlarged_crops(demo_clip: Clip) -> None:
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    fine, coarse = torch.tensor([[0, 48], [9, 9]]), torch.tensor([[15], [0]])
    got = make_encoder(demo_clip.model.visual, GEOMETRY, "resize")(image, fine, coarse)
    torch.testing.assert_close(got.frame, demo_clip.model.encode_image(image))
    for b, k, left, top in [(0, 0, 0, 0), (0, 1, 192, 192), (1, 0, 64, 32)]:
        crop = F.interpolate(image[b : b + 1, :, top : top + 32, left : left + 32], size=(224, 224), mode="bilinear")
        torch.testing.assert_close(got.fine[b, k], demo_clip.model.encode_image(crop)[0], atol=1e-5, rtol=0)
    crop = F.interpolate(image[:1, :, 144:, 144:], size=(224, 224), mode="bilinear")
    torch.testing.assert_close(got.coarse[0, 0], demo_clip.model.encode_image(crop)[0], atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("mode", ["packed", "resize"])
def test_no_windows_at_all(demo_clip: Clip, mode: str) -> None:
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    got = make_encoder(demo_clip.model.visual, GEOMETRY, mode)(torch.zeros(2, 3, 224, 224), nothing, nothing)
    assert [tuple(part.shape) for part in got] == [(2, 128), (2, 0, 128), (2, 0, 128)]


def test_make_encoder_gives_the_mode_asked_for(demo_clip: Clip) -> None:
    assert isinstance(make_encoder(demo_clip.model.visual, GEOMETRY), PackedEncoder)
    encoder = make_encoder(demo_clip.model.visual, GEOMETRY, "resize")
    assert isinstance(encoder, ResizeEncoder)
    assert not encoder.training


@pytest.mark.parametrize("mode", ["", "resise", "literal"])
def test_an_unknown_mode_is_refused(demo_clip: Clip, mode: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown window mode '{mode}'\n  fix: .*known: packed, resize"):
        make_encoder(demo_clip.model.visual, GEOMETRY, mode)


def test_the_reference_to_time_runs() -> None:
    four = Geometry(fine=WindowGrid(size=112, stride=112), coarse=WindowGrid(size=224, stride=224))
    encode = literal_reference("stprompt-demo-16", "none", 0, four)
    assert encode(np.zeros((3, 224, 224), np.float32)) is None
