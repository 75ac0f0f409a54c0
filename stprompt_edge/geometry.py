"""Windows on the token grid, and the heat map made of window scores.

A window is a square crop of the preprocessed image whose side and stride are multiples of the ViT's patch size, so
that it is a set of the frame's own patch tokens. Windows are numbered row by row, from the top left.

Suffixes: N windows of one grid, G tokens on one side of the image, T tokens in one window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class WindowGrid:
    """Square windows of `size` pixels every `stride` pixels."""

    size: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Image, patch and window sizes in pixels; the defaults are the reference's (ViT-B/16, 49 fine and 16 coarse).

    Raises:
        ValueError: if the patch size does not divide the image, or a window's size or stride, or if the windows of
            a grid do not cover the image exactly.
    """

    image_size: int = 224
    patch_size: int = 16
    fine: WindowGrid = field(default_factory=lambda: WindowGrid(size=32, stride=32))
    coarse: WindowGrid = field(default_factory=lambda: WindowGrid(size=80, stride=48))

    def __post_init__(self) -> None:
        for name, length in [
            ("image size", self.image_size),
            *(
                (f"{kind} window {part}", getattr(grid, part))
                for kind, grid in self._grids()
                for part in ("size", "stride")
            ),
        ]:
            if self.patch_size < 1 or length < 1 or length % self.patch_size:
                raise ValueError(f"{name} {length} is not a multiple of the encoder's patch size {self.patch_size}")
        for kind, grid in self._grids():
            slack = self.image_size - grid.size
            if slack < 0 or slack % grid.stride or grid.stride > grid.size:
                raise ValueError(
                    f"{kind} windows of {grid.size} px every {grid.stride} px do not cover {self.image_size} px exactly"
                )

    def _grids(self) -> tuple[tuple[str, WindowGrid], tuple[str, WindowGrid]]:
        return ("fine", self.fine), ("coarse", self.coarse)

    @property
    def tokens_per_side(self) -> int:
        """G: patch tokens along one side of the image."""
        return self.image_size // self.patch_size

    def windows_per_side(self, grid: WindowGrid) -> int:
        """Windows along one side of the image."""
        return (self.image_size - grid.size) // grid.stride + 1

    def window_count(self, grid: WindowGrid) -> int:
        """N: windows in the grid."""
        return self.windows_per_side(grid) ** 2

    @property
    def fine_count(self) -> int:
        """Fine windows in a frame: 49."""
        return self.window_count(self.fine)

    @property
    def coarse_count(self) -> int:
        """Coarse windows in a frame: 16."""
        return self.window_count(self.coarse)

    def windows_xyxy(self, grid: WindowGrid) -> NDArray[np.int64]:
        """Pixel corners of each window in the preprocessed image.

        Returns:
            [N, 4] int64: x0, y0, x1, y1 with x1 and y1 exclusive.
        """
        corners = np.arange(self.windows_per_side(grid)) * grid.stride
        y0, x0 = (axis.ravel() for axis in np.meshgrid(corners, corners, indexing="ij"))
        return np.stack([x0, y0, x0 + grid.size, y0 + grid.size], axis=1).astype(np.int64)

    def token_indices(self, grid: WindowGrid) -> NDArray[np.int64]:
        """Patch tokens inside each window, row by row.

        Returns:
            [N, T] int64 indices into the G x G patch tokens (the class token is not counted).
        """
        corners = self.windows_xyxy(grid)[:, :2] // self.patch_size  # [N, 2] x, y in tokens
        steps = np.arange(grid.size // self.patch_size)
        rows = corners[:, 1, None, None] + steps[None, :, None]  # [N, side, 1]
        columns = corners[:, 0, None, None] + steps[None, None, :]  # [N, 1, side]
        return (rows * self.tokens_per_side + columns).reshape(len(corners), -1).astype(np.int64)

    def spread(self, grid: WindowGrid, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Window scores -> token grid: each token gets the mean of the windows that contain it.

        Args:
            grid: whose scores these are.
            scores: [N] float32, one for each window.

        Returns:
            [G, G] float32.
        """
        indices_NT = self.token_indices(grid)
        total = np.zeros(self.tokens_per_side**2, np.float32)
        count = np.zeros_like(total)
        np.add.at(total, indices_NT, np.broadcast_to(np.asarray(scores, np.float32)[:, None], indices_NT.shape))
        np.add.at(count, indices_NT, np.float32(1))
        return (total / count).reshape(self.tokens_per_side, self.tokens_per_side)

    def heat_map(
        self, fine_scores: NDArray[np.float32], coarse_scores: NDArray[np.float32], fine_weight: float
    ) -> NDArray[np.float32]:
        """Fine and coarse maps averaged (eq. 11; `fine_weight` is the paper's lambda).

        Args:
            fine_scores: [N fine] float32 abnormal probability of each fine window.
            coarse_scores: [N coarse] float32 of each coarse window.
            fine_weight: weight of the fine map; the coarse map has 1 - fine_weight.

        Returns:
            [G, G] float32 on the token grid: all window edges lie on it, so nothing is lost before the resize.
        """
        weight = np.float32(fine_weight)
        return weight * self.spread(self.fine, fine_scores) + (1 - weight) * self.spread(self.coarse, coarse_scores)
