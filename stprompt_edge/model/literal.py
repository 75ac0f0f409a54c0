"""The literal reading of the paper: every window is cropped, resized to the full input size and encoded alone.

The reference for quality and speed (`window_mode="resize"`); nothing at the edge uses it.

Suffixes: B batch, K fine windows, L coarse windows, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import load_clip
from stprompt_edge.model.encoder import Embeddings, PackedEncoder

WINDOW_MODES = ("packed", "resize")


class ResizeEncoder(nn.Module):
    """Same inputs and outputs as `PackedEncoder`; one forward pass of CLIP for each frame and each window.

    Args:
        visual: open_clip's vision tower.
        geometry: image and window sizes.
    """

    visual: Any

    def __init__(self, visual: Any, geometry: Geometry) -> None:
        super().__init__()
        self.visual = visual
        self.geometry = geometry

    def forward(self, image: Tensor, fine: Tensor, coarse: Tensor) -> Embeddings:
        """See `PackedEncoder.forward`."""
        geometry = self.geometry
        return Embeddings(
            self.visual(image),
            self._encode_windows(image, geometry.windows_xyxy(geometry.fine).tolist(), fine),
            self._encode_windows(image, geometry.windows_xyxy(geometry.coarse).tolist(), coarse),
        )

    def _encode_windows(self, image: Tensor, windows_xyxy: list[list[int]], indices: Tensor) -> Tensor:
        width = self.visual.proj.shape[1]
        frames = []
        for frame, row in zip(image, indices.tolist(), strict=True):
            crops = [frame[None, :, y0:y1, x0:x1] for x0, y0, x1, y1 in (windows_xyxy[k] for k in row)]
            encoded = [self.visual(self._enlarge(crop)) for crop in crops]  # K of [1, D]
            frames.append(torch.cat(encoded) if encoded else image.new_zeros(0, width))
        return torch.stack(frames)  # [B, K, D]

    def _enlarge(self, crop: Tensor) -> Tensor:
        return F.interpolate(crop, size=self.geometry.image_size, mode="bilinear", align_corners=False)


def make_encoder(visual: Any, geometry: Geometry, window_mode: str = "packed") -> PackedEncoder | ResizeEncoder:
    """The encoder of a window mode, in eval mode.

    Raises:
        UsageError: unknown mode, or a tower that cannot be packed.
    """
    if window_mode not in WINDOW_MODES:
        raise UsageError(f"unknown window mode '{window_mode}'", remedy=nearest(window_mode, WINDOW_MODES))
    encoder = PackedEncoder(visual, geometry) if window_mode == "packed" else ResizeEncoder(visual, geometry)
    return encoder.eval()


def literal_reference(
    name: str, pretrained: str, seed: int, geometry: Geometry
) -> Callable[[NDArray[np.float32]], None]:
    """The literal step as a function to time: one preprocessed frame [3, S, S] with all its fine windows.

    Raises:
        As `load_clip`.
    """
    encoder = make_encoder(load_clip(name, pretrained, seed).model.visual, geometry, "resize")
    fine = torch.arange(geometry.fine_count)[None]

    def encode(image: NDArray[np.float32]) -> None:
        with torch.inference_mode():
            encoder(torch.from_numpy(image)[None], fine, fine[:, :0])

    return encode
