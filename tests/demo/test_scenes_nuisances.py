"""What makes rendered CCTV hard: cheap sensors, things that move by themselves, and harmless traffic."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from demo.scenes import NORMAL, SceneSpec
from demo.scenes import scene as scenes
from demo.scenes.effects import Sensor
from demo.scenes.particles import Plume
from demo.scenes.props import Cloth, Foliage, Neon, Still, flag
from demo.scenes.scene import INDOORS, SITES, Stage
from demo.scenes.sites import Framing, Site
from demo.scenes.sprites import View, lay

SIZE_WH = (128, 72)
TIMES = (1.0, 1.4, 1.8, 2.2)
MOVING = {
    "street": {Foliage, Cloth, Neon, Plume},
    "plaza": {Foliage, Cloth, Neon},
    "car park": {Foliage, Cloth, Neon},
    "lobby": {Foliage, Neon},
    "shop": {Neon},
}
SEEDS = {"street": 3, "plaza": 0, "car park": 0, "lobby": 0, "shop": 0}  # cameras that see all of it


def spec_of(scene: str) -> SceneSpec:
    return SceneSpec(
        scene_seed=SEEDS[scene],
        seed=SEEDS[scene],
        scene=scene,
        person_fraction=0.3 if scene in INDOORS else 0.2,
        anomaly=NORMAL,
        size_wh=SIZE_WH,
        supersample=1,
    )


@cache
def site_of(scene: str) -> Site:
    """The site of `spec_of`: building one takes a third of a second."""
    spec = spec_of(scene)
    framing = Framing(person_fraction=spec.person_fraction, size_wh=SIZE_WH)
    return SITES[scene](np.random.default_rng([spec.scene_seed, 1]), framing)


def view_of(site: Site) -> View:
    return View(camera=site.camera, lighting=site.lighting, supersample=1)


def stage_of(scene: str, *, furnished: bool = True) -> Stage:
    site = site_of(scene)
    props = tuple(prop for prop in site.props if furnished or not isinstance(prop, Still))
    with pytest.MonkeyPatch.context() as patch:  # a stage draws into the picture
        patch.setitem(SITES, scene, lambda rng, framing: replace(site, picture=site.picture.copy(), props=props))
        return Stage(spec_of(scene))


def empty(scene: str, *, furnished: bool = True) -> Stage:
    """A place without people before a camera that adds nothing: what differs between two frames is in the scene."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "normal_activity", lambda *arguments, **closed: [])
        patch.setattr(scenes, "Sensor", PerfectSensor)
        return stage_of(scene, furnished=furnished)


def largest_change(pictures: list[np.ndarray]) -> float:
    return float(np.ptp(np.stack(pictures), axis=0).max())


class PerfectSensor:
    """Changes nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def exposed(self, light: np.ndarray, index: int, t: float, flash: float) -> np.ndarray:
        return cv2.convertScaleAbs(light)


def grey_frames(seed: int, *, indoor: bool, times: np.ndarray) -> np.ndarray:
    """What a camera makes of an even grey: [T, H, W, 3]."""
    sensor = Sensor(np.random.default_rng(seed), SIZE_WH, site_of("street").lighting, indoor)
    grey = np.full((SIZE_WH[1], SIZE_WH[0], 3), 120, np.float32)
    return np.stack([sensor.exposed(grey.copy(), index, float(t), 0.0) for index, t in enumerate(times)]).astype(int)


@pytest.mark.parametrize("scene", SITES)
def test_two_pictures_of_one_moment_differ_by_noise(scene: str) -> None:
    stage = stage_of(scene)
    first, second = (stage.frame(index, 1.0).image_bgr.astype(int)[8:] for index in (0, 1))  # below the clock
    difference = second - first
    assert 2 < difference.std() < 20
    assert abs(difference.mean()) < 1
    assert (difference != 0).mean() > 0.5, "noise is everywhere"


@pytest.mark.parametrize("seed", range(4))
def test_indoor_light_flickers_from_frame_to_frame(seed: int) -> None:
    times = np.arange(24) / 12
    indoor, outdoor = (
        np.abs(np.diff(grey_frames(seed, indoor=where, times=times).mean(axis=(1, 2, 3)))) for where in (True, False)
    )
    assert np.median(indoor) > 0.005 * 120
    assert np.median(outdoor) < np.median(indoor)


@pytest.mark.parametrize("indoor", [True, False])
def test_brightness_drifts_and_exposure_hunts(indoor: bool) -> None:
    means = grey_frames(3, indoor=indoor, times=np.arange(0, 30, 1.0)).mean(axis=(1, 2, 3))
    assert np.ptp(means) > 0.02 * 120


@pytest.mark.parametrize("scene", SITES)
def test_things_of_every_kind_move_by_themselves(scene: str) -> None:
    site, moved = site_of(scene), dict.fromkeys(MOVING[scene], False)
    for prop in site.props:
        if not isinstance(prop, Still):
            pictures = []
            for t in TIMES:
                picture = np.full((SIZE_WH[1], SIZE_WH[0], 3), 120, np.float32)
                for item in prop.items(t, view_of(site)):
                    lay(picture, item.layer, item.gain)
                pictures.append(picture)
            moved[type(prop)] = moved.get(type(prop), False) or largest_change(pictures) > 20
    assert moved == dict.fromkeys(MOVING[scene], True)


@pytest.mark.parametrize("scene", SITES)
def test_a_place_without_people_moves_and_is_normal(scene: str) -> None:
    stage = empty(scene)
    frames = [stage.frame(0, t) for t in TIMES]
    assert largest_change([frame.image_bgr for frame in frames]) > 20
    assert not any(frame.label for frame in frames)


def test_some_banners_have_the_colours_of_fire() -> None:
    colours = [flag(np.random.default_rng(seed), 0.0, 9.0).colour for seed in range(20)]
    fiery = [red > 190 and blue < green < 0.7 * red for blue, green, red in colours]
    assert 0 < sum(fiery) < len(fiery)


@pytest.mark.parametrize("scene", SITES)
def test_things_stand_about_that_are_no_anomaly(scene: str) -> None:
    furnished, cleared = (empty(scene, furnished=there).frame(0, 1.0) for there in (True, False))
    assert furnished.label == 0
    changed = np.abs(furnished.image_bgr.astype(int) - cleared.image_bgr).max(axis=2) > 25
    assert changed.mean() > 0.005
    assert cv2.connectedComponents(changed.astype(np.uint8))[0] > 2, "more than one thing"


def test_cars_are_parked_where_cars_park() -> None:
    parked = {scene: sum(seen.kind == "parked car" for seen in empty(scene).frame(0, 1.0).seen) for scene in SITES}
    assert parked["street"] == 1
    assert parked["car park"] >= 2
    assert [parked[scene] for scene in ("plaza", *INDOORS)] == [0, 0, 0]


@pytest.mark.parametrize("scene", SITES)
def test_cars_and_cyclists_pass_where_there_is_a_road_and_are_normal(scene: str) -> None:
    stage, seen = stage_of(scene), Counter[str]()
    for t in np.arange(0.0, 30.0, 1.0):
        frame = stage.frame(0, float(t))
        seen.update(something.kind for something in frame.seen)
        assert frame.label == 0
    assert seen["person walking"] >= 30
    assert seen["person standing"] >= 10
    road = scene in ("street", "car park")
    assert (seen["car"] >= 5) is (seen["cyclist"] >= 5) is road
    assert road or not seen["car"] + seen["cyclist"]
