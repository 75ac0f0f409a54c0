"""Paints textured planes into the still picture that a camera sees behind its actors."""

from __future__ import annotations

import cv2
import numpy as np

from demo.scenes.camera import Camera
from demo.scenes.lighting import Lighting
from demo.scenes.textures import TEXELS_PER_M

FINE = 2  # the backdrop is painted at this multiple of the frame and averaged down


class Backdrop:
    """A picture under construction, painted far to near."""

    def __init__(self, camera: Camera, lighting: Lighting) -> None:
        self._camera = camera.scaled(FINE)
        self._lighting = lighting
        width, height = self._camera.size_wh
        self._picture: np.ndarray = np.full((height, width, 3), 150, np.float32)

    def ground(self, texture: np.ndarray, left: float, far: float) -> None:
        """Lays a floor whose texture's first row lies at z = far and first column at x = left; it repeats mirrored."""
        height, width = texture.shape[:2]
        x = left + np.arange(width, dtype=np.float32) / TEXELS_PER_M
        z = far - np.arange(height, dtype=np.float32) / TEXELS_PER_M
        coarse = self._lighting.at(*np.meshgrid(x[::8], z[::8]))
        lit = texture * cv2.resize(coarse, (width, height))
        self._warp(lit, np.array((left, 0.0, far)), np.array((1.0, 0, 0)), np.array((0, 0, -1.0)), None)

    def wall(self, texture: np.ndarray, foot: tuple[float, float], towards: tuple[float, float]) -> None:
        """Raises a wall over the ground from foot (x, z) in the direction (x, z); its last row touches the ground."""
        height, width = texture.shape[:2]
        tall, long = height / TEXELS_PER_M, width / TEXELS_PER_M
        steps = np.linspace(0, long, 16, dtype=np.float32)
        gains = self._lighting.at(foot[0] + towards[0] * steps, foot[1] + towards[1] * steps)
        lit = texture * cv2.resize(gains[None], (width, 1))
        dirt = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 8
        lit = lit * (1 - 0.25 * dirt)
        along = np.array((towards[0], 0.0, towards[1]))
        origin = np.array((foot[0], tall, foot[1]))
        corners = np.array([origin, origin + along * long, origin + along * long, origin])
        corners[2:, 1] = 0
        self._warp(lit, origin, along, np.array((0, -1.0, 0)), corners)

    def _warp(
        self, texture: np.ndarray, origin: np.ndarray, along: np.ndarray, down: np.ndarray, corners: np.ndarray | None
    ) -> None:
        homography = self._camera.plane(origin, along / TEXELS_PER_M, down / TEXELS_PER_M)
        picture = cv2.warpPerspective(
            texture, homography, self._camera.size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        if corners is None:
            self._picture = picture
            return
        pixels, _ = self._camera.project(corners)
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.clip(pixels, -16000, 16000).astype(np.int32)], 1)
        self._picture[mask > 0] = picture[mask > 0]

    def picture(self) -> np.ndarray:
        """The finished picture [H, W, 3] float32, BGR 0..255, at the frame's size."""
        height, width = self._picture.shape[:2]
        return cv2.resize(self._picture, (width // FINE, height // FINE), interpolation=cv2.INTER_AREA)
