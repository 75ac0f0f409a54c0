"""CLIP's image encoder over a frame and its windows, in one packed pass (design section 3).

Patch embedding, positional embedding and ln_pre run once for the frame. Each window is a group of the frame's own
tokens behind a copy of the class token. Layer norms, projections and MLPs run on all groups as one sequence;
attention runs inside each group. A group's embedding is ln_post and proj of its class token, so the frame's is
CLIP's own, and a window's equals running its tokens alone.

Suffixes: B batch, K fine windows, L coarse windows, T tokens in a group, N tokens in the packed sequence,
W width of the transformer, D width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stprompt_edge.errors import UsageError
from stprompt_edge.geometry import Geometry


class Embeddings(NamedTuple):
    """Not normalised, as CLIP's `encode_image` gives them. (A named tuple, because the ONNX exporter flattens it.)"""

    frame: Tensor  # [B, D]
    fine: Tensor  # [B, K, D]
    coarse: Tensor  # [B, L, D]


@dataclass(frozen=True)
class Groups:
    """How many groups of which length follow each other in the packed sequence."""

    frame_tokens: int
    fine_count: int
    fine_tokens: int
    coarse_count: int
    coarse_tokens: int

    def split(self, x_BNW: Tensor) -> list[Tensor]:
        """Packed [B, N, W] -> one [B, groups, T, W] for frame, fine and coarse."""
        sizes = [self.frame_tokens, self.fine_count * self.fine_tokens, self.coarse_count * self.coarse_tokens]
        counts = [(1, self.frame_tokens), (self.fine_count, self.fine_tokens), (self.coarse_count, self.coarse_tokens)]
        batch, _, width = x_BNW.shape
        return [
            part.reshape(batch, count, tokens, width)
            for part, (count, tokens) in zip(x_BNW.split(sizes, dim=1), counts, strict=True)
        ]


def pack(groups: list[Tensor]) -> Tensor:
    """[B, groups, T, W] each -> packed [B, N, W]."""
    return torch.cat([group.flatten(1, 2) for group in groups], dim=1)


class PackedEncoder(nn.Module):
    """Any open_clip `VisionTransformer` with a class token, as the packed encoder.

    Args:
        visual: open_clip's vision tower; its weights are used, not copied.
        geometry: image, patch and window sizes.

    Raises:
        UsageError: if the tower is not a plain ViT pooled by its class token, or its sizes are not the geometry's.
    """

    visual: Any  # open_clip's modules declare no types of their parts
    fine_tokens: Tensor
    coarse_tokens: Tensor

    def __init__(self, visual: Any, geometry: Geometry) -> None:
        super().__init__()
        check_plain_vit(visual, geometry)
        self.visual = visual
        self.geometry = geometry
        self.embedding_width = int(visual.proj.shape[1])
        self.register_buffer("fine_tokens", torch.from_numpy(geometry.token_indices(geometry.fine)), persistent=False)
        self.register_buffer(
            "coarse_tokens", torch.from_numpy(geometry.token_indices(geometry.coarse)), persistent=False
        )

    def forward(self, image: Tensor, fine: Tensor, coarse: Tensor) -> Embeddings:
        """Embed a batch of frames and chosen windows of each.

        Args:
            image: [B, 3, H, W] float, preprocessed.
            fine: [B, K] int64, indices of fine windows; K may be 0.
            coarse: [B, L] int64, indices of coarse windows; L may be 0.

        Returns:
            frame [B, D], fine [B, K, D] and coarse [B, L, D], not normalised.
        """
        tokens_BTW = self.embed_tokens(image)
        x = torch.cat(
            [
                tokens_BTW,
                gather_windows(tokens_BTW, self.fine_tokens, fine),
                gather_windows(tokens_BTW, self.coarse_tokens, coarse),
            ],
            dim=1,
        )
        groups = Groups(
            tokens_BTW.shape[1],
            fine.shape[1], self.fine_tokens.shape[1] + 1,
            coarse.shape[1], self.coarse_tokens.shape[1] + 1,
        )  # fmt: skip
        return self.run_blocks(x, groups)

    def run_blocks(self, x: Tensor, groups: Groups) -> Embeddings:
        """Packed tokens [B, N, W] of the groups -> embeddings."""
        return self.read_classes(self.run_first_blocks(x, groups), groups)

    def run_first_blocks(self, x: Tensor, groups: Groups) -> Tensor:
        """All blocks but the last, on packed tokens [B, N, W]."""
        for block in self.visual.transformer.resblocks[:-1]:
            x = run_block(block, x, groups)
        return x

    def read_classes(self, x: Tensor, groups: Groups) -> Embeddings:
        """The last block and the projection: packed tokens [B, N, W] -> embeddings."""
        classes_BGW = run_last_block(self.visual.transformer.resblocks[-1], x, groups)
        embeddings = self.visual.ln_post(classes_BGW) @ self.visual.proj  # [B, 1+K+L, D]
        frame, fine_embeddings, coarse_embeddings = embeddings.split([1, groups.fine_count, groups.coarse_count], dim=1)
        return Embeddings(frame.squeeze(1), fine_embeddings, coarse_embeddings)

    def embed_tokens(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] -> the frame's tokens [B, 1+G*G, W], class token first, after ln_pre."""
        visual = self.visual
        patches = visual.conv1(image).flatten(2).transpose(1, 2)  # [B, G*G, W]
        classes = visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        return visual.ln_pre(torch.cat([classes, patches], dim=1) + visual.positional_embedding.to(patches.dtype))


def gather_windows(tokens_BTW: Tensor, table_NT: Tensor, windows_BK: Tensor) -> Tensor:
    """Tokens of the chosen windows, each behind a copy of the class token: [B, K*(1+T), W]."""
    indices = F.pad(table_NT + 1, (1, 0))[windows_BK].flatten(1)  # [B, K*(1+T)], 0 is the class token
    return tokens_BTW.gather(1, indices[:, :, None].expand(-1, -1, tokens_BTW.shape[2]))


def run_block(block: Any, x: Tensor, groups: Groups) -> Tensor:
    """One residual block on the packed sequence [B, N, W]: attention inside each group, the rest on all tokens."""
    attention = block.attn
    qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)  # [B, N, 3W]
    mixed = pack([attend(attention.num_heads, *part.chunk(3, dim=-1)) for part in groups.split(qkv)])
    x = x + block.ls_1(attention.out_proj(mixed))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def run_last_block(block: Any, x: Tensor, groups: Groups) -> Tensor:
    """The last block, for class tokens only: nothing reads the others. Packed [B, N, W] -> [B, 1+K+L, W]."""
    attention = block.attn
    width = x.shape[-1]
    normed = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    keys_values = F.linear(normed, weight[width:], bias[width:])  # [B, N, 2W]
    classes = torch.cat([group[:, :, 0] for group in groups.split(x)], dim=1)  # [B, 1+K+L, W]
    queries = F.linear(block.ln_1(classes), weight[:width], bias[:width])
    query_groups = queries.split([1, groups.fine_count, groups.coarse_count], dim=1)
    mixed = pack([
        attend(attention.num_heads, query[:, :, None], *part.chunk(2, dim=-1))
        for query, part in zip(query_groups, groups.split(keys_values), strict=True)
    ])  # fmt: skip
    classes = classes + block.ls_1(attention.out_proj(mixed))
    return classes + block.ls_2(block.mlp(block.ln_2(classes)))


def attend(heads: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention inside each group: query [B, groups, Tq, W], key and value [B, groups, T, W]."""
    head_width = query.shape[-1] // heads
    query, key, value = (part.unflatten(-1, (heads, head_width)).transpose(2, 3) for part in (query, key, value))
    weights = (query * head_width**-0.5 @ key.transpose(-1, -2)).softmax(dim=-1)  # [B, groups, heads, Tq, T]
    return (weights @ value).transpose(2, 3).flatten(-2)  # [B, groups, Tq, W]


def check_plain_vit(visual: Any, geometry: Geometry) -> None:
    """Refuse towers whose forward pass the packed one does not reproduce.

    Raises:
        UsageError: names the property that does not fit.
    """
    problem = None
    block = next(iter(getattr(getattr(visual, "transformer", None), "resblocks", [])), None)
    if not hasattr(visual, "class_embedding") or not isinstance(getattr(block, "attn", None), nn.MultiheadAttention):
        problem = "it is not a plain ViT with a class token"
    elif visual.attn_pool is not None or visual.pool_type != "tok" or visual.proj is None:
        problem = "it is not pooled by its class token and projected"
    elif tuple(visual.patch_size) != (geometry.patch_size,) * 2:
        problem = f"its patch size is {tuple(visual.patch_size)}, the windows need {geometry.patch_size}"
    elif tuple(visual.image_size) != (geometry.image_size,) * 2:
        problem = f"its image size is {tuple(visual.image_size)}, expected {geometry.image_size}"
    if problem:
        raise UsageError(
            f"this CLIP image encoder cannot be packed: {problem}",
            remedy="use a ViT with patch 16 at 224 px, for example --clip ViT-B-16-quickgelu",
        )
