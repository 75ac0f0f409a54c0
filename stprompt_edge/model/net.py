"""What export and evaluation ask of the trained net of any method."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """A method's trained part: here, of one that learns no label prompts."""

    heads: nn.Module

    def label_prompts(self) -> Tensor | None:
        """[1+C, D] that were learned; None for the class names as they are."""
        return None

    def heads_with(self, label_prompts: Tensor) -> nn.Module:
        """What `heads.onnx` holds: the inputs of the method's graph in order -> a named tuple of its outputs."""
        return self.heads
