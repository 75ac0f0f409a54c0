"""From shapes in the world to antialiased pixels: one small supersampled layer per actor.

A shape is a stroke (a line with a radius, shaded as a tube) or a face (a filled polygon). An actor's shapes are
projected together, drawn into a layer that is `supersample` times as fine as the frame, averaged down and laid over
the frame. The layer's alpha tells which pixels belong to the actor; boxes are taken from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from demo.scenes.camera import Camera
from demo.scenes.lighting import Lighting

Colour = tuple[float, float, float]  # BGR, 0..255

SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
OWNED_ALPHA = 0.5  # a pixel belongs to an actor that covers at least half of it
TUBE_BANDS = ((1.0, 0.66, 0.0), (0.74, 0.92, 0.16), (0.36, 1.13, 0.34))  # width, brightness, shift to the light
FLAT_UNDER_PX = 3.0  # thinner strokes get one band


class Shape(NamedTuple):
    """Points [k, 3] in metres; radius 0 is a filled face, otherwise a stroke of that radius."""

    points: np.ndarray
    colour: Colour
    radius: float = 0.0
    flat: bool = False


class Drawn(NamedTuple):
    """What an actor shows at one moment: its shapes far to near, its place on the ground, and its box group.

    Group 0 is normal; shapes of the same other group share one annotated box.
    """

    shapes: list[Shape]
    x: float
    z: float
    group: int = 0


@dataclass(frozen=True)
class Layer:
    """Premultiplied colour [h, w, 3] float32 0..255 and alpha [h, w, 1] float32 0..1 at (left, top) of the frame."""

    left: int
    top: int
    colour: np.ndarray
    alpha: np.ndarray


def rasterize(shapes: Sequence[Shape], camera: Camera, *, supersample: int, light_sign: float = -1.0) -> Layer | None:
    """Draws shapes in the order given; None when nothing of them is in the frame.

    Args:
        light_sign: -1 when the light comes from the left of the image, +1 from the right.
    """
    counts = [len(shape.points) for shape in shapes]
    pixels, depth = camera.project(np.concatenate([shape.points for shape in shapes]))
    radii = np.repeat([shape.radius for shape in shapes], counts) * camera.focal_px / depth
    margin = radii[:, None] + 1.0
    low, high = (pixels - margin).min(axis=0), (pixels + margin).max(axis=0)
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]) + 1, camera.size_wh[0]), min(int(high[1]) + 1, camera.size_wh[1])
    if right <= left or bottom <= top:
        return None
    canvas = np.zeros(((bottom - top) * supersample, (right - left) * supersample, 4), np.uint8)
    fine = np.clip((pixels - (left, top)) * supersample, -8000, 8000)
    start = 0
    for shape, count in zip(shapes, counts, strict=True):
        stop = start + count
        if shape.radius:
            _tube(canvas, fine[start:stop], float(radii[start]) * supersample, shape, light_sign)
        else:
            fixed = (fine[start:stop] * (1 << SHIFT)).astype(np.int32)
            cv2.fillPoly(canvas, [fixed], (*shape.colour, 255), cv2.LINE_8, SHIFT)
        start = stop
    small = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Layer(left, top, small[..., :3], small[..., 3:] * np.float32(1 / 255))


def _tube(canvas: np.ndarray, line: np.ndarray, radius: float, shape: Shape, light_sign: float) -> None:
    """A stroke as bands that grow narrower and brighter towards the light."""
    flat = shape.flat or radius < FLAT_UNDER_PX
    for width, gain, shift in ((1.0, 0.95, 0.0),) if flat else TUBE_BANDS:
        blue, green, red = shape.colour
        offset = (light_sign * shift * radius, -0.7 * shift * radius)
        fixed = ((line + offset) * (1 << SHIFT)).astype(np.int32)
        colour = (min(blue * gain, 255), min(green * gain, 255), min(red * gain, 255), 255)
        thickness = max(1, round(2 * radius * width))
        cv2.polylines(canvas, [fixed], False, colour, thickness, cv2.LINE_8, SHIFT)


def clip_layer(left: int, top: int, picture: np.ndarray, size_wh: tuple[int, int]) -> Layer | None:
    """The part inside the frame of a premultiplied picture [h, w, 4] float32 (alpha 0..1) at (left, top)."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, size_wh[0]), min(top + height, size_wh[1])
    if x1 <= x0 or y1 <= y0:
        return None
    part = picture[y0 - top : y1 - top, x0 - left : x1 - left]
    return Layer(x0, y0, part[..., :3], part[..., 3:])


def lay(frame: np.ndarray, layer: Layer, gain: np.ndarray) -> None:
    """Lays a layer over a frame [H, W, 3] float32 in place; gain [3] is the light at the actor's place."""
    height, width = layer.alpha.shape[:2]
    region = frame[layer.top : layer.top + height, layer.left : layer.left + width]
    region *= 1 - layer.alpha
    region += layer.colour * gain


def claim(owners: np.ndarray, layer: Layer, group: int, owned_alpha: float = OWNED_ALPHA) -> None:
    """Marks the pixels that a layer covers as its group's in owners [H, W] uint8: nearer layers take over."""
    height, width = layer.alpha.shape[:2]
    region = owners[layer.top : layer.top + height, layer.left : layer.left + width]
    region[layer.alpha[..., 0] >= owned_alpha] = group


def cast_shadow(mask: np.ndarray, shapes: Sequence[Shape], camera: Camera, sun: np.ndarray) -> None:
    """Adds the shadow of shapes on the ground to mask [H, W] uint8, 255 where the light is blocked.

    Args:
        sun: [3] the direction from the ground to the light.
    """
    points = np.concatenate([shape.points for shape in shapes])
    ground = points - sun * (points[:, 1:2] / sun[1])
    pixels, depth = camera.project(ground)
    fixed = (np.clip(pixels, -4000, 4000) * (1 << SHIFT)).astype(np.int32)
    start = 0
    for shape in shapes:
        stop = start + len(shape.points)
        if shape.radius:
            thickness = max(1, round(1.7 * shape.radius * camera.focal_px / float(depth[start])))
            cv2.polylines(mask, [fixed[start:stop]], False, 255, thickness, cv2.LINE_8, SHIFT)
        else:
            cv2.fillPoly(mask, [fixed[start:stop]], 255, cv2.LINE_8, SHIFT)
        start = stop


@dataclass(frozen=True, kw_only=True)
class View:
    """What an actor needs to know to draw itself."""

    camera: Camera
    lighting: Lighting
    supersample: int

    @property
    def light_sign(self) -> float:
        """-1 when the main light comes from the left of the image, +1 from the right."""
        right = self.camera.matrix[0, :3] - self.camera.matrix[2, :3] * self.camera.size_wh[0] / 2
        return 1.0 if float(right @ self.lighting.sun) > 0 else -1.0

    def sees(self, x: float, z: float, reach_m: float) -> bool:
        """Whether anything within reach_m of a place on the ground can show in the frame."""
        row, depth = self.camera.matrix[0], self.camera.depth_at(x, z)
        if depth < 1.0:
            return False
        u = float(row[0] * x + row[2] * z + row[3]) / depth
        margin = reach_m * self.camera.focal_px / max(depth - reach_m, 1.0)
        return -margin <= u <= self.camera.size_wh[0] + margin

    def gain(self, x: float, z: float) -> np.ndarray:
        """The light [3] at a place on the ground."""
        return self.lighting.at(np.float32(x), np.float32(z))


class Item(NamedTuple):
    """A layer ready to be laid: nearer ones go over farther ones."""

    depth: float
    layer: Layer
    gain: np.ndarray
    group: int = 0
    owned_alpha: float = OWNED_ALPHA


class Effect(Protocol):
    """An actor that makes its own pixels: leaves, smoke, fire."""

    def items(self, t: float, view: View) -> list[Item]:
        """Its layers at t seconds."""


class Solid(Protocol):
    """An actor made of shapes, which casts a shadow."""

    @property
    def kind(self) -> str:
        """What a caption calls it."""

    def drawn(self, t: float, view: View) -> Drawn | None:
        """Its shapes at t seconds; None while it is not there."""


def item_of(drawn: Drawn, view: View) -> Item | None:
    """Rasterizes what an actor shows; None outside the frame."""
    depth = view.camera.depth_at(drawn.x, drawn.z)
    if depth < 1.0:
        return None
    layer = rasterize(drawn.shapes, view.camera, supersample=view.supersample, light_sign=view.light_sign)
    return None if layer is None else Item(depth, layer, view.gain(drawn.x, drawn.z), drawn.group)
