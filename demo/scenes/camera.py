"""A pinhole camera over a ground plane.

World axes: x right, y up, z forward, metres; the ground is y = 0. Image axes: u right, v down, pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import atan2, cos, hypot, sin

import numpy as np

NEAR_M = 0.3  # points nearer than this are pushed to it, so that a shape crossing the lens stays finite
PERSON_M = 1.75  # the height by which a framing is described


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a camera hangs and looks.

    Args:
        eye: its place in the world, metres.
        yaw: radians, 0 looks along +z, positive turns to +x.
        pitch: radians below the horizon.
        focal_px: focal length in pixels of the frame.
        size_wh: frame size in pixels.
    """

    eye: tuple[float, float, float]
    yaw: float
    pitch: float
    focal_px: float
    size_wh: tuple[int, int]
    matrix: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sin_y, cos_y, sin_p, cos_p = sin(self.yaw), cos(self.yaw), sin(self.pitch), cos(self.pitch)
        rotation = np.array(
            [
                [cos_y, 0.0, -sin_y],
                [-sin_y * sin_p, -cos_p, -cos_y * sin_p],
                [sin_y * cos_p, -sin_p, cos_y * cos_p],
            ]
        )
        width, height = self.size_wh
        intrinsics = np.array([[self.focal_px, 0, width / 2], [0, self.focal_px, height / 2], [0, 0, 1.0]])
        extrinsics = np.column_stack([rotation, -rotation @ np.array(self.eye)])
        object.__setattr__(self, "matrix", intrinsics @ extrinsics)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [N, 2] and depths [N] in metres of world points [N, 3]."""
        homogeneous = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = np.maximum(homogeneous[:, 2], NEAR_M)
        return homogeneous[:, :2] / depth[:, None], depth

    def depth_at(self, x: float, z: float) -> float:
        """Distance along the view axis of a ground point, metres."""
        row = self.matrix[2]
        return float(row[0] * x + row[2] * z + row[3])

    def px_per_m(self, x: float, z: float) -> float:
        """Pixels that a metre facing the camera takes at a ground point."""
        return self.focal_px / max(self.depth_at(x, z), NEAR_M)

    def plane(self, origin: np.ndarray, along: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Homography [3, 3] from plane coordinates (a, b), metres, at origin + a * along + b * up, to pixels."""
        world = np.zeros((4, 3))
        world[:3, 0], world[:3, 1], world[:3, 2], world[3, 2] = along, up, origin, 1.0
        return self.matrix @ world

    def scaled(self, factor: int) -> Camera:
        """The same view at `factor` times the resolution."""
        width, height = self.size_wh
        return Camera(
            eye=self.eye,
            yaw=self.yaw,
            pitch=self.pitch,
            focal_px=self.focal_px * factor,
            size_wh=(width * factor, height * factor),
        )


def camera_towards(
    *, distance: float, height: float, yaw: float, person_fraction: float, anchor_v: float, size_wh: tuple[int, int]
) -> Camera:
    """A camera that sees the world's origin as an operator would frame it.

    Args:
        distance: metres along the ground between camera and origin.
        height: metres above the ground.
        yaw: radians that the camera is turned around the origin.
        person_fraction: a standing person at the origin takes this part of the frame's height.
        anchor_v: the origin lies at this part of the frame's height, 0 at the top.
        size_wh: frame size in pixels.
    """
    frame_height = size_wh[1]
    slant = hypot(distance, height)
    down = atan2(height, distance)
    focal = person_fraction * frame_height * slant / (PERSON_M * cos(down))
    pitch = down - atan2((anchor_v - 0.5) * frame_height, focal)
    eye = (-distance * sin(yaw), height, -distance * cos(yaw))
    return Camera(eye=eye, yaw=yaw, pitch=pitch, focal_px=focal, size_wh=size_wh)
