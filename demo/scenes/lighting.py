"""The light of a scene: sun, sky and lamps, and how strongly each place on the ground is lit."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np


@dataclass(frozen=True)
class Lamp:
    """A lamp's pool of light on the ground, metres; strength 1 doubles daylight's ambient gain."""

    x: float
    z: float
    radius: float
    strength: float


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """What lights a scene.

    Args:
        sun: direction from the ground to the main light, [3], unit length.
        ambient: gain of blue, green and red everywhere.
        shadow: how dark a cast shadow is, 0..1.
        shadow_blur_m: half width of a shadow's soft edge.
        lamps: pools of extra light.
        monochrome: the camera is in its infrared night mode.
        dark: it is night: windows are lit and the sensor is noisier.
    """

    sun: np.ndarray
    ambient: np.ndarray
    shadow: float
    shadow_blur_m: float
    lamps: tuple[Lamp, ...] = ()
    monochrome: bool = False
    dark: bool = False

    def at(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Gain [..., 3] of blue, green and red at ground points x, z of any equal shape."""
        pool = np.zeros(np.shape(x), np.float32)
        for lamp in self.lamps:
            pool += lamp.strength * np.exp(-((x - lamp.x) ** 2 + (z - lamp.z) ** 2) / (2 * lamp.radius**2))
        warm = np.array((0.82, 0.97, 1.06), np.float32)
        return (self.ambient + pool[..., None] * warm).astype(np.float32)


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    return np.array([sin(azimuth) * cos(elevation), sin(elevation), cos(azimuth) * cos(elevation)])


def daylight(rng: np.random.Generator) -> Lighting:
    """Sun, cloud, dusk or lamplit night, by the weights of a camera that runs all day."""
    mood = str(rng.choice(["sun", "cloud", "dusk", "night", "infrared"], p=[0.34, 0.3, 0.14, 0.14, 0.08]))
    azimuth = float(rng.uniform(-pi, pi))
    if mood == "sun":
        sun = _direction(azimuth, float(rng.uniform(0.6, 1.1)))
        return Lighting(sun=sun, ambient=np.array((1.1, 1.14, 1.2)), shadow=0.55, shadow_blur_m=0.03)
    if mood == "cloud":
        sun = _direction(azimuth, 1.35)
        return Lighting(sun=sun, ambient=np.array((1.05, 1.03, 1.0)), shadow=0.3, shadow_blur_m=0.16)
    if mood == "dusk":
        sun = _direction(azimuth, 0.75)
        return Lighting(sun=sun, ambient=np.array((0.8, 0.74, 0.72)), shadow=0.3, shadow_blur_m=0.1)
    lamps = tuple(
        Lamp(float(x + rng.uniform(-1, 1)), float(rng.uniform(-2, 3)), float(rng.uniform(3.5, 5.5)), 0.62)
        for x in (-9, 0, 9)
    )
    ambient = np.array((0.3, 0.27, 0.26)) if mood == "night" else np.array((0.42, 0.42, 0.42))
    return Lighting(
        sun=_direction(azimuth, 1.1),
        ambient=ambient,
        shadow=0.4,
        shadow_blur_m=0.08,
        lamps=lamps,
        monochrome=mood == "infrared",
        dark=True,
    )


def indoor_light(rng: np.random.Generator) -> Lighting:
    """Ceiling lamps: soft short shadows and brighter pools below them."""
    lamps = tuple(
        Lamp(float(x), float(z), float(rng.uniform(1.6, 2.4)), float(rng.uniform(0.1, 0.3)))
        for x in (-3, 0, 3)
        for z in (-1.5, 2.5, 6)
    )
    tint = np.array((1.0, 1.0, 1.0)) * rng.uniform(0.7, 0.85) + rng.normal(0, 0.03, 3)
    return Lighting(
        sun=_direction(float(rng.uniform(-pi, pi)), 1.3), ambient=tint, shadow=0.32, shadow_blur_m=0.1, lamps=lamps
    )
