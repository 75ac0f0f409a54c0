"""One video: a place, its normal life and, perhaps, one anomaly; frames with their exact labels and boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from demo.scenes.activity import normal_activity
from demo.scenes.camera import PERSON_M
from demo.scenes.effects import Sensor
from demo.scenes.events import EVENTS, Cue, Incident
from demo.scenes.interiors import lobby, shop
from demo.scenes.outdoors import car_park, plaza, street
from demo.scenes.props import THING, Still
from demo.scenes.sites import Framing, Site
from demo.scenes.sprites import Effect, Item, Solid, View, cast_shadow, claim, item_of, lay
from stprompt_edge.errors import UsageError, nearest

SITES: dict[str, Callable[[np.random.Generator, Framing], Site]] = {
    "street": street,
    "plaza": plaza,
    "car park": car_park,
    "lobby": lobby,
    "shop": shop,
}
ANOMALIES: tuple[str, ...] = tuple(EVENTS)
NORMAL = "normal"
FPS = 12  # as many CCTV recorders store
INDOORS = ("lobby", "shop")
LEAST_OUTDOORS, LEAST_INDOORS, MOST = 0.12, 0.24, 0.5  # person_fraction: wider views reach beyond what is built
OUTDOORS = tuple(scene for scene in SITES if scene not in INDOORS)
SCENES_OF: dict[str, tuple[str, ...]] = {  # those that need a road or a pavement; the others happen anywhere
    "explosion": OUTDOORS,
    "car crash": ("street", "car park"),
    "cyclist on the pavement": OUTDOORS,
    "car on the pavement": OUTDOORS,
}
MIN_BOX_AREA = 0.003  # of the frame: what shows less of itself is not there yet

Box = tuple[int, int, int, int]


class Seen(NamedTuple):
    """Something in a frame, abnormal or not: what a caption calls it and the box of what of it is in the frame."""

    kind: str
    box: Box


class RenderedFrame(NamedTuple):
    """A frame [H, W, 3] uint8 BGR, the boxes (x0, y0, x1, y1) of what is abnormal in it, x1 and y1 exclusive,
    its label: 1 exactly where there is a box; and all people and vehicles in it, for captions."""

    image_bgr: np.ndarray
    boxes: tuple[Box, ...]
    label: int
    seen: tuple[Seen, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """Everything that determines a video, to the bit.

    Args:
        scene_seed: determines place and camera. Videos with the same one share them.
        seed: determines who comes by and when.
        scene: one of SITES.
        person_fraction: a person at the middle of the scene takes this part of the frame's height.
        anomaly: one of ANOMALIES, or "normal".
        start_s, end_s: when the anomaly happens, seconds.
    """

    scene_seed: int
    seed: int
    scene: str
    person_fraction: float
    anomaly: str = NORMAL
    start_s: float = 0.0
    end_s: float = 0.0
    seconds: float = 30.0
    fps: int = FPS
    size_wh: tuple[int, int] = (320, 180)
    supersample: int = 3

    def __post_init__(self) -> None:
        if self.scene not in SITES:
            raise UsageError(f"unknown scene {self.scene!r}", remedy=nearest(self.scene, SITES))
        least = LEAST_INDOORS if self.scene in INDOORS else LEAST_OUTDOORS
        if not least <= self.person_fraction <= MOST:
            raise UsageError(
                f"a person takes {self.person_fraction} of the frame's height in a {self.scene}",
                remedy=f"choose person_fraction from {least} to {MOST}; outside it the camera sees where nothing is",
            )
        if self.anomaly not in (NORMAL, *ANOMALIES):
            raise UsageError(f"unknown anomaly {self.anomaly!r}", remedy=nearest(self.anomaly, (NORMAL, *ANOMALIES)))
        if self.scene not in SCENES_OF.get(self.anomaly, SITES):
            raise UsageError(
                f"{self.anomaly!r} cannot happen in a {self.scene}",
                remedy=f"choose one of: {', '.join(SCENES_OF[self.anomaly])}",
            )
        if self.anomaly != NORMAL and not 0 <= self.start_s < self.end_s <= self.seconds:
            raise UsageError(
                f"the anomaly runs from {self.start_s} s to {self.end_s} s in a video of {self.seconds} s",
                remedy="choose 0 <= start_s < end_s <= seconds",
            )

    @property
    def frame_count(self) -> int:
        """Frames in the video."""
        return round(self.seconds * self.fps)


class Stage:
    """A place filled with actors, ready to be filmed."""

    def __init__(self, spec: SceneSpec) -> None:
        place, life = np.random.default_rng([spec.scene_seed, 1]), np.random.default_rng([spec.seed, 2])
        framing = Framing(person_fraction=spec.person_fraction, size_wh=spec.size_wh)
        site = SITES[spec.scene](place, framing)
        incident = Incident()
        if spec.anomaly != NORMAL:
            cue = Cue(start=spec.start_s, end=spec.end_s, view_height_m=PERSON_M / spec.person_fraction)
            incident = EVENTS[spec.anomaly](life, site, cue)
        people = normal_activity(
            life,
            site,
            spec.seconds,
            closed_way=incident.closed_way,
            closed_lane=incident.closed_lane,
            keep_out=incident.keep_out,
        )
        self._view = View(camera=site.camera, lighting=site.lighting, supersample=spec.supersample)
        stills = [prop for prop in site.props if isinstance(prop, Still)]
        self._solids: list[Solid] = people + incident.solids
        self._effects: list[Effect] = [prop for prop in site.props if not isinstance(prop, Still)] + incident.effects
        self._blast = incident.blast
        self._sensor = Sensor(place, spec.size_wh, site.lighting, site.indoor)
        self._picture = site.picture
        still_items = [(prop.kind, item_of(prop.shown, self._view)) for prop in stills]
        self._still_items = [item for _, item in still_items if item is not None]
        self._still_seen = [_seen(kind, item) for kind, item in still_items if item is not None and kind != THING]
        shadow = self._shadow([prop.shown.shapes for prop in stills])
        if shadow is not None:
            cv2.multiply(self._picture, shadow, dst=self._picture)

    def _shadow(self, actors: list[list]) -> np.ndarray | None:
        """Gain [H, W, 3] of the ground under the shadows of actors."""
        if not actors:
            return None
        lighting, camera = self._view.lighting, self._view.camera
        mask = np.zeros((camera.size_wh[1], camera.size_wh[0]), np.uint8)
        for shapes in actors:
            cast_shadow(mask, shapes, camera, lighting.sun)
        sigma = max(lighting.shadow_blur_m * camera.px_per_m(0, 0), 0.5)
        soft = cv2.GaussianBlur(mask, (0, 0), sigma)
        return cv2.merge([1 - soft.astype(np.float32) * np.float32(lighting.shadow / 255)] * 3)

    def frame(self, index: int, t: float) -> RenderedFrame:
        """The frame at t seconds."""
        picture = self._picture.copy()
        items, seen = list(self._still_items), list(self._still_seen)
        visible = []
        for solid in self._solids:
            drawn = solid.drawn(t, self._view)
            item = item_of(drawn, self._view) if drawn is not None else None
            if drawn is not None and item is not None:
                items.append(item)
                visible.append(drawn.shapes)
                seen.append(_seen(solid.kind, item))
        shadow = self._shadow(visible)
        if shadow is not None:
            cv2.multiply(picture, shadow, dst=picture)
        for effect in self._effects:
            items += effect.items(t, self._view)
        boxes = self._lay(picture, items)
        flash = self._blast.flash(t) if self._blast else 0.0
        return RenderedFrame(self._sensor.exposed(picture, index, t, flash), boxes, int(bool(boxes)), tuple(seen))

    def _lay(self, picture: np.ndarray, items: list[Item]) -> tuple[Box, ...]:
        """Lays all items, far to near; the boxes of what remains visible of each group."""
        items.sort(key=lambda item: -item.depth)
        groups = sorted({item.group for item in items if item.group})
        owners = np.zeros(picture.shape[:2], np.uint8)
        for item in items:
            lay(picture, item.layer, item.gain)
            if groups:
                claim(owners, item.layer, item.group, item.owned_alpha)
        boxes = []
        for group in groups:
            x, y, width, height = cv2.boundingRect((owners == group).astype(np.uint8))
            if width * height >= MIN_BOX_AREA * owners.size:
                boxes.append((x, y, x + width, y + height))
        return tuple(boxes)


def _seen(kind: str, item: Item) -> Seen:
    height, width = item.layer.alpha.shape[:2]
    return Seen(kind, (item.layer.left, item.layer.top, item.layer.left + width, item.layer.top + height))


def render_video(spec: SceneSpec) -> Iterator[RenderedFrame]:
    """All frames of a video in order."""
    stage = Stage(spec)
    for index in range(spec.frame_count):
        yield stage.frame(index, index / spec.fps)
