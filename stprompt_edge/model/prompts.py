"""Label prompts with a learned prefix (CoOp, as the paper) through CLIP's frozen text encoder.

Suffixes: P classes with `normal`, N tokens of a text, W width of the text transformer, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stprompt_edge.model.clip import Clip

CONTEXT_LENGTH = 8  # learned vectors before each class name
_PLACEHOLDER = "X"  # one token; its embedding is replaced by a learned vector
CONTEXT_STD = 0.02  # of the random start, as CoOp


class PromptLearner(nn.Module):
    """[start] v1 .. v8 [class name] [end] for each class; the eight vectors are shared and learned.

    Args:
        clip: its text encoder is used frozen and is not part of this module's parameters.
        class_names: P texts, `normal` first.
    """

    token_embeddings: Tensor

    def __init__(self, clip: Clip, class_names: Sequence[str]) -> None:
        super().__init__()
        self._clip = (clip.model,)  # in a tuple, so that nn.Module does not register it
        prefix = " ".join([_PLACEHOLDER] * CONTEXT_LENGTH)
        self.tokens = clip.tokenize([f"{prefix} {name}" for name in class_names])  # [P, N]
        with torch.no_grad():
            embeddings = clip.model.token_embedding(self.tokens)
        self.register_buffer("token_embeddings", embeddings, persistent=False)  # [P, N, W]
        self.context = nn.Parameter(torch.randn(CONTEXT_LENGTH, embeddings.shape[-1]) * CONTEXT_STD)

    def forward(self) -> Tensor:
        """Unit-length label prompts [P, D]; the gradient reaches `context` and nothing in CLIP."""
        classes = len(self.tokens)
        texts_PNW = torch.cat(
            [
                self.token_embeddings[:, :1],
                self.context.expand(classes, -1, -1),
                self.token_embeddings[:, 1 + CONTEXT_LENGTH :],
            ],
            dim=1,
        )
        return F.normalize(encode_token_embeddings(self._clip[0], texts_PNW, self.tokens.argmax(dim=-1)), dim=-1)


def encode_token_embeddings(clip_model: Any, embeddings_PNW: Tensor, ends_P: Tensor) -> Tensor:
    """CLIP's text encoder from token embeddings on: [P, N, W] -> [P, D], not normalised.

    Attention only looks back, so texts are cut behind the longest one: equal to the full context, at a fraction of it.

    Args:
        ends_P: int64, where each text's end token is; CLIP gives it the largest id.
    """
    longest = int(ends_P.max()) + 1
    x = embeddings_PNW[:, :longest] + clip_model.positional_embedding[:longest]
    x = clip_model.transformer(x, attn_mask=clip_model.attn_mask[:longest, :longest])
    x = clip_model.ln_final(x)[torch.arange(len(x)), ends_P]  # [P, W]
    return x @ clip_model.text_projection
