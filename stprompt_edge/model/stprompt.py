"""STPrompt's trained part: adapter, classifier and learned prompts on frozen embeddings.

Suffixes: B batch, T sampled frames, D width of the embedding, C abnormal classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stprompt_edge.model.branches import Classifier, align
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.net import Net
from stprompt_edge.model.prompts import PromptLearner
from stprompt_edge.model.temporal import TemporalAdapter, smooth


class Logits(NamedTuple):
    """What both branches say of each sampled frame. (A named tuple, because the ONNX exporter flattens it.)"""

    anomaly_logit: Tensor  # [...]
    similarity: Tensor  # [..., 1+C]


class Heads(nn.Module):
    """Everything behind the data-independent part of eq. 4.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adapter = TemporalAdapter(width)
        self.classifier = Classifier(width)

    def forward(self, context: Tensor, clip: Tensor, label_prompts: Tensor) -> Logits:
        """A (x_clip + x_as) [..., D], x_clip [..., D] and label prompts [1+C, D] -> logits."""
        x_ta = self.adapter(context)
        return Logits(self.classifier(x_ta), align(clip, x_ta, label_prompts))


class HeadsGraph(nn.Module):
    """`Heads` with label prompts [1+C, D] as constants; what `heads.onnx` holds."""

    label_prompts: Tensor

    def __init__(self, heads: Heads, label_prompts: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("label_prompts", label_prompts)

    def forward(self, context: Tensor, clip: Tensor) -> Logits:
        """See `Heads`."""
        return self.heads(context, clip, self.label_prompts)


class STPrompt(Net):
    """The whole trainable model on whole videos.

    Args:
        clip: frozen; only its text encoder is used, by the prompt learner.
        class_names: 1+C texts, `normal` first.
        sigma: width of the adapter's kernel in sampled frames.
    """

    heads: Heads

    def __init__(self, clip: Clip, class_names: Sequence[str], sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.prompts = PromptLearner(clip, class_names)
        self.heads = Heads(clip.model.visual.proj.shape[1])

    def forward(self, x_clip: Tensor, x_as: Tensor) -> Logits:
        """x_clip and x_as [..., T, D] -> anomaly_logit [..., T] and similarity [..., T, 1+C]."""
        return self.with_prompts(x_clip, x_as, self.prompts())

    def with_prompts(
        self, x_clip: Tensor, x_as: Tensor, label_prompts: Tensor, lengths: Tensor | None = None
    ) -> Logits:
        """The same with label prompts [1+C, D] at hand; `lengths` [B] keeps padded frames out of the kernel's rows."""
        return self.heads(smooth(x_clip + x_as, self.sigma, lengths), x_clip, label_prompts)

    @torch.inference_mode()
    def label_prompts(self) -> Tensor:
        """See `Net`."""
        return self.prompts()

    def heads_with(self, label_prompts: Tensor) -> HeadsGraph:
        """See `Net`."""
        return HeadsGraph(self.heads, label_prompts)
