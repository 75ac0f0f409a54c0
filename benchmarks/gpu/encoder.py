"""The encoder that is timed: ViT-B/16 packed, with seeded weights; its inputs, and its floating point operations.

open_clip's tower where it is installed, else the same architecture written out here: timings do not depend on weights.

Suffixes: B frames, K fine windows, L coarse windows.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.encoder import PackedEncoder

SEED = 0


@dataclass(frozen=True, kw_only=True)
class VitSize:
    """A vision transformer with patch 16 at 224 px."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    embedding: int = 512
    open_clip_name: str = "ViT-B-16-quickgelu"  # empty if open_clip has none like it


TINY = VitSize(width=32, layers=2, heads=2, mlp=64, embedding=16, open_clip_name="")
VIT_B_16 = VitSize()


@dataclass(frozen=True, kw_only=True)
class Step:
    """How many windows a step encodes beside the frame."""

    name: str
    fine: int
    coarse: int


WATCH, LOCATE = Step(name="watch", fine=12, coarse=0), Step(name="locate", fine=49, coarse=16)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What an encoder reads; the tensors keep their addresses."""

    image: Tensor  # [B, 3, 224, 224] float32
    fine: Tensor  # [B, K] int64
    coarse: Tensor  # [B, L] int64

    @property
    def batch(self) -> int:
        """B."""
        return int(self.image.shape[0])


def make_inputs(step: Step, batch: int, device: torch.device, images: Tensor | None = None) -> Inputs:
    """Seeded images, or the given ones repeated, and different windows for each frame."""
    generator = torch.Generator().manual_seed(SEED)
    geometry = Geometry()
    if images is None:
        images = torch.randn(batch, 3, geometry.image_size, geometry.image_size, generator=generator)
    picked = [
        torch.stack([torch.randperm(count, generator=generator)[:wanted] for _ in range(batch)])
        for count, wanted in ((geometry.fine_count, step.fine), (geometry.coarse_count, step.coarse))
    ]
    repeated = images[torch.arange(batch) % len(images)].contiguous()
    return Inputs(image=repeated.to(device), fine=picked[0].to(device), coarse=picked[1].to(device))


def build_encoder(size: VitSize) -> tuple[PackedEncoder, str]:
    """The packed encoder in float32 on the CPU, and in words what it is."""
    if size.open_clip_name:
        try:
            from stprompt_edge.model.clip import load_clip

            visual = load_clip(size.open_clip_name, "none", seed=SEED).model.visual
            return _packed(visual), f"open_clip's {size.open_clip_name}, seeded weights"
        except (ImportError, EnvironmentFailure):  # the same architecture will do
            pass
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        visual = PlainVit(size)
    return _packed(
        visual
    ), f"plain torch ViT, {size.layers} layers of {size.width}, patch 16, seeded weights (no open_clip)"


def _packed(visual: Any) -> PackedEncoder:
    return PackedEncoder(visual, Geometry()).eval().requires_grad_(False)


class PlainVit(nn.Module):
    """The parts of open_clip's `VisionTransformer` that the packed encoder uses, under their names there."""

    attn_pool = None
    pool_type = "tok"

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        geometry = Geometry()
        self.patch_size = (geometry.patch_size, geometry.patch_size)
        self.image_size = (geometry.image_size, geometry.image_size)
        width, scale = size.width, size.width**-0.5
        self.conv1 = nn.Conv2d(3, width, geometry.patch_size, stride=geometry.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(geometry.tokens_per_side**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(_Block(size) for _ in range(size.layers))
        self.proj = nn.Parameter(scale * torch.randn(width, size.embedding))


class _Block(nn.Module):
    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.attn = nn.MultiheadAttention(size.width, size.heads, batch_first=True)
        self.ls_1, self.ls_2 = nn.Identity(), nn.Identity()
        layers = {
            "c_fc": nn.Linear(size.width, size.mlp),
            "gelu": _QuickGelu(),
            "c_proj": nn.Linear(size.mlp, size.width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def packed_flops(size: VitSize, step: Step, batch: int) -> int:
    """Floating point operations (two for a multiply-add) in the matrix products of one call; the rest is left out.

    Patch embedding; all blocks but the last on every token, attention inside each group; the last for class tokens.
    """
    geometry, width = Geometry(), size.width
    patches = geometry.tokens_per_side**2
    groups = [1 + patches]
    groups += [1 + (geometry.fine.size // geometry.patch_size) ** 2] * step.fine
    groups += [1 + (geometry.coarse.size // geometry.patch_size) ** 2] * step.coarse
    tokens, classes = sum(groups), len(groups)
    embedding = patches * 3 * geometry.patch_size**2 * width
    block = tokens * (4 * width**2 + 2 * width * size.mlp) + sum(2 * group**2 * width for group in groups)
    last = tokens * 2 * width**2 + classes * (2 * width**2 + 2 * width * size.mlp) + 2 * tokens * width
    projection = classes * width * size.embedding
    return 2 * batch * (embedding + (size.layers - 1) * block + last + projection)


def token_rows(step: Step, batch: int) -> int:
    """Rows of the packed sequence's matrix products."""
    geometry = Geometry()
    fine, coarse = ((grid.size // geometry.patch_size) ** 2 + 1 for grid in (geometry.fine, geometry.coarse))
    return batch * (1 + geometry.tokens_per_side**2 + step.fine * fine + step.coarse * coarse)
