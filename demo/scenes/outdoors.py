"""Outdoor places: a street, a square, a car park."""

from __future__ import annotations

from math import pi

import numpy as np

from demo.scenes.backdrop import Backdrop
from demo.scenes.camera import Camera
from demo.scenes.fronts import facade
from demo.scenes.lighting import Lighting, daylight
from demo.scenes.props import (
    Foliage,
    Prop,
    bench,
    bin_prop,
    bollard,
    cone,
    crate,
    flag,
    kiosk,
    lamp_post,
    parked,
    sign,
    steam,
)
from demo.scenes.sites import Framing, Path, Site, bin_place, clear_of, mount
from demo.scenes.sprites import Colour
from demo.scenes.textures import fill, texels, tiled, weathered

LEFT, WIDE = -24.0, 48.0  # the painted ground, metres; beyond it repeats mirrored
NEAR = 8.0  # how far it reaches from the origin towards the camera
PAINT: Colour = (205, 208, 210)
KERB_STONE: Colour = (165, 166, 168)
GRIME: Colour = (40, 40, 42)
KERB, STREET_FAR, FAR_KERB = 2.1, 11.4, 9.0  # z of a street's kerbs and of its far house fronts


def _stone(rng: np.random.Generator, low: float, high: float) -> Colour:
    blue, green, red = rng.uniform(low, high) * np.array((0.94, 0.975, 1.0))
    return (float(blue), float(green), float(red))


def _enclose(camera: Camera, lighting: Lighting, ground: np.ndarray, fronts: np.ndarray, far: float) -> np.ndarray:
    """The still picture of a ground that ends at a row of house fronts."""
    fill(ground, (0, 0, WIDE, 0.5), GRIME, 0.3)
    back = Backdrop(camera, lighting)
    back.ground(ground, LEFT, far)
    back.wall(fronts, (LEFT, far), (1, 0))
    return back.picture()


def _street_ground(rng: np.random.Generator) -> np.ndarray:
    ground = weathered(rng, (texels(STREET_FAR + NEAR), texels(WIDE)), (92, 92, 94))
    slab, size = _stone(rng, 118, 150), (0.6, 0.4) if rng.random() < 0.5 else (0.4, 0.4)
    for z0, z1 in ((-NEAR, KERB), (FAR_KERB, STREET_FAR)):
        rows = slice(texels(STREET_FAR - z1), texels(STREET_FAR - z0))
        ground[rows] = tiled(rng, (rows.stop - rows.start, ground.shape[1]), slab, size, bond=True)
    for z in (KERB, FAR_KERB):
        y = STREET_FAR - z
        fill(ground, (0, y - 0.08, WIDE, y + 0.08), KERB_STONE, 0.85)
    fill(ground, (0, STREET_FAR - KERB - 0.3, WIDE, STREET_FAR - KERB - 0.08), (60, 60, 62), 0.4)  # the gutters
    fill(ground, (0, STREET_FAR - FAR_KERB + 0.08, WIDE, STREET_FAR - FAR_KERB + 0.3), (60, 60, 62), 0.4)
    for x in np.arange(0, WIDE, 3.0):
        fill(ground, (x, STREET_FAR - 5.61, x + 1.6, STREET_FAR - 5.49), PAINT, 0.75)
    return ground


def street(rng: np.random.Generator, framing: Framing) -> Site:
    """Two pavements and a two-lane road in front of houses; the near pavement is the camera's."""
    lighting, camera, far = daylight(rng), mount(rng, framing, 0.42), STREET_FAR
    picture = _enclose(camera, lighting, _street_ground(rng), facade(rng, WIDE, 9, lighting.dark), far)
    sun, eye = lighting.sun, camera.eye
    bin_at = bin_place(rng)
    props: list[Prop] = [
        bin_prop(rng, *bin_at, eye, sun),
        parked(rng, float(rng.uniform(-7, 7)), 8.1, -pi / 2, eye, sun),
        lamp_post(float(rng.uniform(2.4, 3.4)) * float(rng.choice([-1, 1])), KERB - 0.3),
        bin_prop(rng, float(rng.uniform(-3, 3)), far - 1.0, eye, sun),
        flag(rng, float(rng.uniform(-5, 5)), far - 0.3),
        sign(rng, float(rng.uniform(-5, 5)), far - 0.15),
        Foliage(rng, float(rng.choice([-4.5, 4.5])) + float(rng.uniform(-0.8, 0.8)), far - 1.6),
        *(bollard(x + float(rng.uniform(-0.3, 0.3)), KERB - 0.25) for x in (-3.2, 0.4, 4.0)),
    ]
    if rng.random() < 0.5:
        props.append(steam(rng, float(rng.uniform(-4, 4)), 5.5))
    return Site(
        kind="street",
        camera=camera,
        lighting=lighting,
        picture=picture,
        walkways=(Path((-9, -0.6), (9, -0.6), 1.3), Path((-14, far - 1.3), (14, far - 1.3), 0.7)),
        lanes=(Path((-26, 3.9), (26, 3.9), 0.15), Path((26, 6.8), (-26, 6.8), 0.15)),
        hangouts=(clear_of((float(rng.uniform(-3, 3)), 1.1), bin_at), (float(rng.uniform(-4, 4)), far - 0.9)),
        bin_at=bin_at,
        forbidden=(Path((-11, -0.4), (11, -0.4), 0.5),),
        props=tuple(props),
    )


def plaza(rng: np.random.Generator, framing: Framing) -> Site:
    """A paved square with trees, benches and planters; no vehicle belongs there."""
    lighting, camera, far = daylight(rng), mount(rng, framing, 0.6), float(rng.uniform(9, 13))
    ground = tiled(rng, (texels(far + NEAR), texels(WIDE)), _stone(rng, 110, 165), (0.8, 0.8), spread=0.05)
    for x in np.arange(2, WIDE, 6.0):
        fill(ground, (x, 0, x + 0.35, far + NEAR), (84, 86, 92), 0.6)
    picture = _enclose(camera, lighting, ground, facade(rng, WIDE, 8, lighting.dark), far)
    sun, eye = lighting.sun, camera.eye
    bin_at = bin_place(rng)
    props: list[Prop] = [
        bin_prop(rng, *bin_at, eye, sun),
        bench(rng, float(rng.uniform(-5, 5)), 5.2, eye, sun),
        bench(rng, float(rng.uniform(-5, 5)), far - 1.4, eye, sun),
        crate(rng, float(rng.uniform(-4, -2)), 4.2, (1.4, 0.5, 1.4), eye, sun),
        Foliage(rng, float(rng.uniform(2.5, 4.5)), 5.6),
        Foliage(rng, float(rng.uniform(-5.5, -3.5)), 6.4),
        flag(rng, float(rng.uniform(-4, 4)), far - 0.5),
        sign(rng, float(rng.uniform(-4, 4)), far - 0.15),
        bin_prop(rng, float(rng.uniform(1.5, 3)), 4.6, eye, sun),
        lamp_post(float(rng.uniform(-4.5, 4.5)), 3.4),
    ]
    if rng.random() < 0.4:
        props.append(kiosk(rng, float(rng.uniform(-3, 3)), far - 1.8, eye, sun))
    ways = (
        Path((-10, 0.2), (10, 0.6), 1.0),
        Path((-11, 2.2), (11, 2.6), 0.8),
        Path((-6, -4.5), (5, far - 1), 0.8),
    )
    return Site(
        kind="plaza",
        camera=camera,
        lighting=lighting,
        picture=picture,
        walkways=ways,
        lanes=(),
        hangouts=(clear_of((float(rng.uniform(-3, 3)), 3.4), bin_at), (float(rng.uniform(-3, 3)), far - 2.2)),
        bin_at=bin_at,
        forbidden=(Path((-11, -0.2), (11, 0.5), 0.5),),
        props=tuple(props),
    )


def _car_park_ground(rng: np.random.Generator, far: float) -> np.ndarray:
    ground = weathered(rng, (texels(far + NEAR), texels(WIDE)), (86, 86, 88), 1.3)
    foot = texels(far + 0.4)
    ground[foot:] = tiled(rng, (len(ground) - foot, ground.shape[1]), _stone(rng, 120, 145), (0.4, 0.4))
    fill(ground, (0, far + 0.32, WIDE, far + 0.48), KERB_STONE, 0.85)
    for x in np.arange(0.5, WIDE, 2.7):
        fill(ground, (x, far - 10.6, x + 0.1, far - 5.6), PAINT, 0.8)
    return ground


def car_park(rng: np.random.Generator, framing: Framing) -> Site:
    """A lane between a footway and bays with parked cars."""
    lighting, camera, far = daylight(rng), mount(rng, framing, 0.4, 0.48), 13.0
    picture = _enclose(camera, lighting, _car_park_ground(rng, far), facade(rng, WIDE, 7, lighting.dark), far)
    sun, eye = lighting.sun, camera.eye
    bays = [x for x in np.arange(LEFT + 1.9, -LEFT, 2.7).tolist() if abs(x) < 9 and rng.random() < 0.7]
    bin_at = bin_place(rng)
    props: list[Prop] = [
        parked(rng, x, 8.1 + float(rng.uniform(-0.2, 0.2)), float(rng.choice([0, pi])), eye, sun) for x in bays
    ]
    props += [
        bin_prop(rng, *bin_at, eye, sun),
        cone(float(rng.uniform(-4, 4)), 0.8, eye, sun),
        lamp_post(float(rng.uniform(-4, 4)), 11.0),
        Foliage(rng, float(rng.uniform(-5, 5)), far - 0.9),
        sign(rng, float(rng.uniform(-4, 4)), far - 0.15),
        flag(rng, float(rng.uniform(-6, 6)), far - 0.5),
    ]
    return Site(
        kind="car park",
        camera=camera,
        lighting=lighting,
        picture=picture,
        walkways=(Path((-9, -1.4), (9, -1.4), 0.8), Path((-12, 11.5), (12, 11.5), 0.6)),
        lanes=(Path((-24, 3.0), (24, 3.0), 0.15),),
        hangouts=(clear_of((float(rng.uniform(-3, 3)), -0.6), bin_at), (float(rng.uniform(-4, 4)), 11.6)),
        bin_at=bin_at,
        forbidden=(Path((-11, -1.2), (11, -1.2), 0.4),),
        props=tuple(props),
    )
