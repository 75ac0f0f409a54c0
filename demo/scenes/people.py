"""Articulated people: a pose gives joints, joints give shaded limbs.

Local axes of a body: x to its right, y up, z the way it faces; metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from demo.scenes.sprites import Colour, Shape

# limb lengths as parts of a person's height (Drillis & Contini 1966, rounded)
THIGH, SHIN, FOOT, UPPER_ARM, FOREARM, TORSO = 0.245, 0.246, 0.12, 0.18, 0.17, 0.30
SHOULDER_HALF, HIP_HALF, HEAD_R = 0.105, 0.055, 0.05

CLOTHES: tuple[Colour, ...] = (
    (60, 52, 48), (92, 84, 80), (38, 36, 40), (120, 92, 60), (58, 66, 120), (70, 96, 78), (150, 148, 146),
    (178, 170, 160), (96, 70, 48), (62, 84, 132), (48, 60, 70), (112, 104, 128), (140, 120, 88), (44, 70, 50),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = ((70, 54, 44), (48, 44, 42), (36, 34, 34), (96, 88, 84), (84, 96, 112), (104, 78, 58))
SKINS: tuple[Colour, ...] = ((142, 170, 212), (120, 150, 196), (86, 116, 164), (62, 84, 124), (44, 60, 92))
HAIRS: tuple[Colour, ...] = ((24, 26, 30), (34, 44, 62), (60, 84, 112), (100, 104, 108), (28, 28, 30))


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one person wears; height in metres, colours BGR."""

    height: float
    top: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    build: float = 1.0
    coat: bool = False
    bag: bool = False


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Joint angles in radians; pairs are (left, right), forward and outward positive."""

    thighs: tuple[float, float] = (0.0, 0.0)
    knees: tuple[float, float] = (0.05, 0.05)
    arms: tuple[float, float] = (0.0, 0.0)
    spread: tuple[float, float] = (0.12, 0.12)
    elbows: tuple[float, float] = (0.2, 0.2)
    lean: float = 0.0
    nod: float = 0.0
    twist: float = 0.0
    topple: float = 0.0  # turn of the whole body about the feet, pi / 2 lies on its face
    topple_side: float = 0.0  # 0 topples forwards, pi / 2 to the right
    lift: float = 0.0  # metres above the ground


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A pose at a place; heading in radians, 0 faces +z, pi / 2 faces +x."""

    x: float
    z: float
    heading: float
    pose: Pose


def random_look(rng: np.random.Generator) -> Look:
    """Plain street clothes, drawn from a small wardrobe with a little jitter."""

    def pick(colours: tuple[Colour, ...]) -> Colour:
        chosen = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.8, 1.2) + rng.normal(0, 5, 3)
        blue, green, red = np.clip(chosen, 8, 235).tolist()
        return (blue, green, red)

    return Look(
        height=float(np.clip(rng.normal(1.72, 0.08), 1.5, 1.92)),
        top=pick(CLOTHES),
        trousers=pick(TROUSERS),
        skin=pick(SKINS),
        hair=pick(HAIRS),
        build=float(rng.uniform(0.9, 1.2)),
        coat=bool(rng.random() < 0.3),
        bag=bool(rng.random() < 0.3),
    )


def stride(phase: float, *, run: float = 0.0) -> Pose:
    """The walk cycle at a phase in radians; run 0 walks, 1 sprints."""
    swing = 0.42 + 0.42 * run
    flex = 0.75 + 0.85 * run
    left, right = sin(phase), -sin(phase)
    return Pose(
        thighs=(swing * left + 0.18 * run, swing * right + 0.18 * run),
        knees=(0.1 + flex * max(0.0, cos(phase)), 0.1 + flex * max(0.0, -cos(phase))),
        arms=((0.4 + 0.6 * run) * right, (0.4 + 0.6 * run) * left),
        elbows=(0.25 + 1.2 * run, 0.25 + 1.2 * run),
        lean=0.04 + 0.24 * run,
        twist=0.1 * right,
        lift=0.06 * run * abs(cos(phase)),
    )


def blend(first: Pose, second: Pose, weight: float) -> Pose:
    """The pose between two: weight 0 is the first, 1 the second."""

    def mix(a: float, b: float) -> float:
        return a + (b - a) * weight

    def both(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
        return mix(a[0], b[0]), mix(a[1], b[1])

    return Pose(
        thighs=both(first.thighs, second.thighs),
        knees=both(first.knees, second.knees),
        arms=both(first.arms, second.arms),
        spread=both(first.spread, second.spread),
        elbows=both(first.elbows, second.elbows),
        lean=mix(first.lean, second.lean),
        nod=mix(first.nod, second.nod),
        twist=mix(first.twist, second.twist),
        topple=mix(first.topple, second.topple),
        topple_side=mix(first.topple_side, second.topple_side),
        lift=mix(first.lift, second.lift),
    )


def _turn(points: np.ndarray, angle: float, axis: tuple[int, int]) -> np.ndarray:
    a, b = axis
    turned = points.copy()
    turned[:, a] = points[:, a] * cos(angle) + points[:, b] * sin(angle)
    turned[:, b] = -points[:, a] * sin(angle) + points[:, b] * cos(angle)
    return turned


def _legs(pose: Pose) -> list[list[float]]:
    """Hip, knee, ankle, toe of the left and of the right leg, pelvis at the origin, unit height."""
    rows = []
    for side, thigh, knee in zip((-1, 1), pose.thighs, pose.knees, strict=True):
        hip = (side * HIP_HALF, 0.0, 0.0)
        at_knee = (hip[0] * 1.05, -THIGH * cos(thigh), THIGH * sin(thigh))
        below = thigh - knee
        ankle = (hip[0] * 1.1, at_knee[1] - SHIN * cos(below), at_knee[2] + SHIN * sin(below))
        toe = (hip[0] * 1.3, ankle[1] - FOOT * sin(-below) * 0.6 - 0.02, ankle[2] + FOOT * cos(below))
        rows += [list(hip), list(at_knee), list(ankle), list(toe)]
    return rows


def _upper(pose: Pose) -> np.ndarray:
    """Head, crown, chin and both shoulder, elbow, hand triples; pelvis at the origin, unit height: [9, 3]."""
    ahead = 0.08 * sin(pose.nod)
    rows: list[tuple[float, float, float]] = [
        (0, TORSO + 0.10, 0.012 + ahead),
        (0, TORSO + 0.118, -0.012 + ahead),
        (0, TORSO + 0.068, 0.026 + ahead),
    ]
    for side, arm, out, bend in zip((-1, 1), pose.arms, pose.spread, pose.elbows, strict=True):
        shoulder = (side * SHOULDER_HALF, TORSO - 0.015, 0.0)
        reach = cos(out)
        elbow = (
            shoulder[0] + side * UPPER_ARM * sin(out),
            shoulder[1] - UPPER_ARM * cos(arm) * reach,
            shoulder[2] + UPPER_ARM * sin(arm) * reach,
        )
        fore = arm + bend
        hand = (
            elbow[0] + side * FOREARM * sin(out) * (1 - 0.7 * min(bend, 1.0)),
            elbow[1] - FOREARM * cos(fore) * reach,
            elbow[2] + FOREARM * sin(fore) * reach,
        )
        rows += [shoulder, elbow, hand]
    return _turn(_turn(np.array(rows, float), pose.twist, (0, 2)), -pose.lean, (1, 2))


def joints(look: Look, placed: Placed) -> np.ndarray:
    """World joints [17, 3]: 8 of the legs (hip, knee, ankle, toe; left first), then the 9 of the upper body."""
    pose = placed.pose
    body = np.concatenate([np.array(_legs(pose), float), _upper(pose)]) * look.height
    body[:, 1] -= body[[2, 3, 6, 7], 1].min() - 0.02 * look.height
    if pose.topple:
        body = _turn(body, pose.topple_side, (0, 2))
        body = _turn(body, -pose.topple, (1, 2))
        body = _turn(body, -pose.topple_side, (0, 2))
        body[:, 1] = np.maximum(body[:, 1] - body[:, 1].min(), 0) + 0.07
    body[:, 1] += pose.lift
    body = _turn(body, placed.heading, (0, 2))
    body[:, 0] += placed.x
    body[:, 2] += placed.z
    return body


def person_shapes(look: Look, placed: Placed, eye: tuple[float, float, float]) -> list[Shape]:
    """A person's limbs, far to near as seen from eye."""
    body = joints(look, placed)
    size = look.height * look.build
    parts: list[list[Shape]] = []
    for hip in (0, 4):
        parts.append([Shape(body[[hip, hip + 1]], look.trousers, 0.046 * size)])
        parts.append([Shape(body[[hip + 1, hip + 2]], look.trousers, 0.034 * size)])
        parts.append([Shape(body[[hip + 2, hip + 3]], (26, 26, 30), 0.021 * size, True)])
    for shoulder in (11, 14):
        parts.append([Shape(body[[shoulder, shoulder + 1]], look.top, 0.030 * size)])
        parts.append([Shape(body[[shoulder + 1, shoulder + 2]], look.top, 0.024 * size)])
        parts.append([Shape(_beyond(body[shoulder + 1], body[shoulder + 2]), look.skin, 0.021 * size, True)])
    parts.append(_trunk(look, body, size))
    parts += _head(look, body, size)
    if look.bag:
        strap = body[11] * 0.1 + body[0] * 0.9 + (0, 0.12, 0)
        parts.append([Shape(np.stack([strap, strap - (0, 0.16, 0)]), look.hair, 0.07 * size)])
    middles = 0.5 * np.array([part[0].points[0] + part[-1].points[-1] for part in parts])
    order = np.argsort(-((middles - np.array(eye)) ** 2).sum(axis=1), kind="stable")
    return [shape for index in order for shape in parts[index]]


def _trunk(look: Look, body: np.ndarray, size: float) -> list[Shape]:
    """Both flanks in shade and, over them, the rounded middle; a coat reaches down the thighs."""
    inner = 0.68 * body[[11, 14]] + 0.32 * body[[14, 11]]
    lines = [np.stack([inner[side], body[hip]]) for side, hip in ((0, 0), (1, 4))]
    dim = (look.top[0] * 0.8, look.top[1] * 0.8, look.top[2] * 0.8)
    shapes = [Shape(line, dim, 0.064 * size, True) for line in lines]
    if look.coat:
        hems = [np.stack([body[hip], 0.5 * body[hip + 1] + 0.5 * body[hip]]) for hip in (0, 4)]
        shapes = [Shape(hem, dim, 0.058 * size, True) for hem in hems] + shapes
        middle = np.stack([inner.mean(axis=0), 0.5 * (hems[0][1] + hems[1][1])])
    else:
        middle = np.stack([inner.mean(axis=0), 0.5 * (body[0] + body[4])])
    return [*shapes, Shape(middle, look.top, 0.066 * size)]


def _head(look: Look, body: np.ndarray, size: float) -> list[list[Shape]]:
    """Neck, face and hair."""
    radius = HEAD_R * look.height
    return [
        [Shape(np.stack([0.5 * (body[11] + body[14]), body[8]]), look.skin, 0.030 * size, True)],
        [Shape(body[[8, 10]], look.skin, radius * 0.92)],
        [Shape(np.stack([body[9], 0.8 * body[9] + 0.2 * body[8]]), look.hair, radius)],
    ]


def _beyond(elbow: np.ndarray, hand: np.ndarray) -> np.ndarray:
    """The hand: a short piece that carries the forearm on."""
    return np.stack([hand, hand + (hand - elbow) * 0.25])
