"""The packed encoder against CLIP's own, and each window against its tokens run alone through CLIP's own blocks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stprompt_edge.errors import UsageError
from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.encoder import PackedEncoder, check_plain_vit

GEOMETRY = Geometry()
TOLERANCE = 1e-4


def images(batch: int) -> Tensor:
    """[batch, 3, 224, 224], about as spread as normalised pixels."""
    return torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def indices(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64)


@torch.inference_mode()
def window_alone(visual: Any, image: Tensor, tokens: list[int]) -> Tensor:
    """Class token and the given patch tokens, with their own positions, through the tower's modules: [D]."""
    patches = visual.conv1(image[None]).flatten(2).transpose(1, 2)
    sequence = torch.cat([visual.class_embedding[None, None], patches], dim=1) + visual.positional_embedding
    sequence = visual.ln_pre(sequence)[:, [0, *(token + 1 for token in tokens)]]
    return (visual.ln_post(visual.transformer(sequence))[:, 0] @ visual.proj)[0]


@pytest.fixture(params=["demo_clip", "vit_b_16"])
def clip(request: pytest.FixtureRequest) -> Clip:
    return request.getfixturevalue(request.param)


@torch.inference_mode()
def test_packed_equals_literal(clip: Clip) -> None:
    """Two frames with different windows; fine and coarse, first and last, one of them twice."""
    image, fine, coarse = images(2), indices([0, 24, 48], [7, 7, 30]), indices([0, 15], [5, 1])
    encoder = PackedEncoder(clip.model.visual, GEOMETRY).eval()
    got = encoder(image, fine, coarse)
    assert [tuple(part.shape) for part in got] == [(2, w, encoder.embedding_width)[:: 1 if w else 2] for w in (0, 3, 2)]
    torch.testing.assert_close(got.frame, clip.model.encode_image(image), atol=TOLERANCE, rtol=0)
    for embeddings, chosen, grid in [(got.fine, fine, GEOMETRY.fine), (got.coarse, coarse, GEOMETRY.coarse)]:
        table = GEOMETRY.token_indices(grid).tolist()
        for b, row in enumerate(chosen.tolist()):
            expected = torch.stack([window_alone(clip.model.visual, image[b], table[window]) for window in row])
            torch.testing.assert_close(embeddings[b], expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize(("fine_count", "coarse_count"), [(0, 0), (0, 2), (3, 0), (1, 1), (49, 16)])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_choice_of_windows_changes_nothing_else(
    demo_clip: Clip, batch: int, fine_count: int, coarse_count: int
) -> None:
    encoder = PackedEncoder(demo_clip.model.visual, GEOMETRY).eval()
    image = images(batch)
    every = encoder(image, torch.arange(49).expand(batch, -1), torch.arange(16).expand(batch, -1))
    generator = torch.Generator().manual_seed(1)
    fine = torch.stack([torch.randperm(49, generator=generator)[:fine_count] for _ in range(batch)])
    coarse = torch.stack([torch.randperm(16, generator=generator)[:coarse_count] for _ in range(batch)])
    got = encoder(image, fine, coarse)
    assert got.fine.shape == (batch, fine_count, 128)
    assert got.coarse.shape == (batch, coarse_count, 128)
    torch.testing.assert_close(got.frame, every.frame, atol=TOLERANCE, rtol=0)
    for b in range(batch):
        torch.testing.assert_close(got.fine[b], every.fine[b, fine[b]], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(got.coarse[b], every.coarse[b, coarse[b]], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_a_window_sees_its_own_pixels_only(demo_clip: Clip) -> None:
    encoder = PackedEncoder(demo_clip.model.visual, GEOMETRY).eval()
    image = images(1)
    changed = image.clone()
    changed[:, :, :32, :32] += 1  # fine window 0, coarse window 0
    fine, coarse = torch.arange(49)[None], torch.arange(16)[None]
    before, after = encoder(image, fine, coarse), encoder(changed, fine, coarse)
    for old, new in [(before.fine[0], after.fine[0]), (before.coarse[0], after.coarse[0])]:
        assert (old[0] - new[0]).abs().max() > 0.01
        torch.testing.assert_close(old[1:], new[1:], atol=1e-5, rtol=0)
    assert (before.frame - after.frame).abs().max() > 0.001


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """The smallest tower that can be packed."""
    return tower(patch_size=16)


def tower(**changes: Any) -> nn.Module:
    from open_clip.transformer import VisionTransformer

    sizes = {"image_size": 224, "patch_size": 16, "width": 8, "layers": 1, "heads": 2, "mlp_ratio": 1, "output_dim": 4}
    return VisionTransformer(**{**sizes, **changes})


def resnet() -> nn.Module:
    from open_clip.modified_resnet import ModifiedResNet

    return ModifiedResNet(layers=(1, 1, 1, 1), output_dim=4, heads=1, image_size=224, width=8)


def test_a_plain_tower_is_accepted(plain: nn.Module) -> None:
    check_plain_vit(plain, GEOMETRY)
    assert PackedEncoder(plain, GEOMETRY).embedding_width == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (resnet, "it is not a plain ViT with a class token"),
        (lambda: nn.Linear(1, 1), "it is not a plain ViT with a class token"),
        (lambda: SimpleNamespace(trunk=nn.Identity(), head=nn.Identity()), "it is not a plain ViT"),  # SigLIP, timm
        (lambda: tower(pool_type="avg"), "it is not pooled by its class token"),
        (lambda: tower(attentional_pool=True, attn_pooler_heads=1), "it is not pooled by its class token"),  # CoCa
        (lambda: tower(patch_size=32), r"its patch size is \(32, 32\), the windows need 16"),  # ViT-B-32
        (lambda: tower(image_size=240), r"its image size is \(240, 240\), expected 224"),
    ],
)
def test_refuses_what_cannot_be_packed(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=rf"cannot be packed: {message}.*\n  fix: use a ViT with patch 16 at 224 px"):
        PackedEncoder(make(), GEOMETRY)


def test_refuses_a_tower_without_projection(plain: nn.Module) -> None:
    bare = tower()
    bare.proj = None
    with pytest.raises(UsageError, match="not pooled by its class token and projected"):
        check_plain_vit(bare, GEOMETRY)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32", "ViT-B-16-SigLIP", "ViT-B-16-plus-240", "coca_ViT-B-32"])
def test_refuses_the_real_ones(name: str) -> None:
    """The towers that a user might name, built without memory for their weights."""
    import open_clip

    with torch.device("meta"):
        visual = open_clip.create_model(name, load_weights=False, device="meta").visual
    with pytest.raises(UsageError, match="cannot be packed"):
        check_plain_vit(visual, GEOMETRY)


def test_geometry_of_another_image_size_is_refused(plain: nn.Module) -> None:
    other = replace(GEOMETRY, image_size=160, coarse=WindowGrid(size=80, stride=80))
    with pytest.raises(UsageError, match=r"its image size is \(224, 224\), expected 160"):
        check_plain_vit(plain, other)
