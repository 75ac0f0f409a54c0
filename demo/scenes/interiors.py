"""Indoor places: a lobby and a shop."""

from __future__ import annotations

import numpy as np

from demo.scenes.backdrop import Backdrop
from demo.scenes.camera import Camera
from demo.scenes.fronts import shelf, wall_fittings
from demo.scenes.lighting import Lighting, indoor_light
from demo.scenes.props import Prop, bench, bin_prop, crate, plant, sign
from demo.scenes.sites import Framing, Path, Site, bin_place, clear_of, mount
from demo.scenes.sprites import Colour
from demo.scenes.textures import fill, texels, tiled, weathered

TALL = 3.2  # height of a room's walls, metres
BEFORE = 4.0  # how far they reach from the origin towards the camera


def _plaster(rng: np.random.Generator, low: float, high: float) -> Colour:
    blue, green, red = rng.uniform(low, high) * np.array((0.93, 0.965, 1.0))
    return (float(blue), float(green), float(red))


def _room(rng: np.random.Generator, framing: Framing, half: float, deep: float) -> tuple[Camera, Lighting, Backdrop]:
    """A tiled floor between three walls; the camera hangs where the fourth would be."""
    lighting, camera = indoor_light(rng), mount(rng, framing, 0.22, 0.4)
    tile = (0.6, 0.6) if rng.random() < 0.6 else (0.3, 0.3)
    shape = (texels(deep + 8), texels(2 * half + 2))
    floor = tiled(rng, shape, _plaster(rng, 110, 180), tile, joint=0.84, spread=0.03)
    fill(floor, (0, 0, 2 * half + 2, 0.3), (40, 40, 42), 0.25)
    back = Backdrop(camera, lighting)
    back.ground(floor, -half - 1, deep)
    tone = _plaster(rng, 130, 200)
    rear = weathered(rng, (texels(TALL), texels(2 * half)), tone, 0.5)
    wall_fittings(rng, rear, 2 * half)
    back.wall(rear, (-half, deep), (1, 0))
    for foot, towards in (((-half, -BEFORE), 1.0), ((half, deep), -1.0)):
        flank = weathered(rng, (texels(TALL), texels(deep + BEFORE)), tone, 0.5) * np.float32(0.88)
        wall_fittings(rng, flank, deep + BEFORE)
        back.wall(flank, foot, (0, towards))
    return camera, lighting, back


def lobby(rng: np.random.Generator, framing: Framing) -> Site:
    """A hall with doors, a counter, seats and plants."""
    half, deep = float(rng.uniform(4.5, 6.5)), float(rng.uniform(6.5, 9.5))
    camera, lighting, back = _room(rng, framing, half, deep)
    sun, eye, side = lighting.sun, camera.eye, float(rng.choice([-1, 1]))
    bin_at = bin_place(rng)
    props: list[Prop] = [
        bin_prop(rng, *bin_at, eye, sun),
        crate(rng, side * (half - 1.6), deep - 1.5, (2.4, 1.1, 0.8), eye, sun),
        bench(rng, -side * (half - 1.4), deep - 1.0, eye, sun),
        plant(rng, -side * (half - 0.6), 2.5),
        plant(rng, side * (half - 0.5), deep - 0.6),
        sign(rng, float(rng.uniform(-2, 2)), deep - 0.1, 2.4),
    ]
    ways = (
        Path((-half - 2, 0.3), (half + 2, 0.3), 0.9),
        Path((-half - 2, 2.8), (half + 2, 2.8), 0.8),
        Path((-1.5, -4.5), (1.2, deep - 0.4), 0.7),
    )
    return Site(
        kind="lobby",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=ways,
        lanes=(),
        hangouts=(clear_of((float(rng.uniform(-2.5, 2.5)), 4.2), bin_at), (side * (half - 2.2), deep - 2.5)),
        bin_at=bin_at,
        forbidden=(),
        props=tuple(props),
        indoor=True,
    )


def shop(rng: np.random.Generator, framing: Framing) -> Site:
    """Shelves of goods along the back and the sides, a display and a till."""
    half, deep = float(rng.uniform(4.5, 6.0)), float(rng.uniform(6, 8))
    camera, lighting, back = _room(rng, framing, half, deep)
    back.wall(shelf(rng, 2 * half - 1), (-half + 0.5, deep - 0.6), (1, 0))
    back.wall(shelf(rng, 5.0), (-half + 0.6, 0.5), (0, 1))
    back.wall(shelf(rng, 5.0), (half - 0.6, 5.5), (0, -1))
    sun, eye = lighting.sun, camera.eye
    bin_at = bin_place(rng)
    props: list[Prop] = [
        bin_prop(rng, *bin_at, eye, sun),
        crate(rng, float(rng.uniform(-1.5, 1.5)), 4.3, (float(rng.uniform(1.2, 2.0)), 1.15, 0.6), eye, sun),
        crate(rng, half - 1.6, 2.2, (0.7, 0.95, 1.8), eye, sun),
        sign(rng, float(rng.uniform(-2, 2)), deep - 0.5, 2.5),
    ]
    ways = (
        Path((-half - 1, 0.4), (half + 1, 0.4), 0.8),
        Path((-half - 1, 2.6), (half + 1, 2.6), 0.6),
        Path((-2.6, -4.5), (-2.3, deep - 1.6), 0.4),
    )
    return Site(
        kind="shop",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=ways,
        lanes=(),
        hangouts=(clear_of((float(rng.uniform(-2.5, 2.5)), 5.6), bin_at), (float(rng.uniform(-3, -1)), 3.4)),
        bin_at=bin_at,
        forbidden=(),
        props=tuple(props),
        indoor=True,
    )
