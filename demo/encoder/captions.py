"""What is said of a frame and of a window of a rendered scene.

A caption belongs to a concept: something to see ("person walking", "fighting") or, for whole frames, what happens at
a kind of place. A picture has one concept; all captions of that concept are right for it, those of concepts that may
show beside it are neither right nor wrong, the others are wrong.

Suffixes: C captions, N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.scenes.scene import ANOMALIES, NORMAL, SITES
from stprompt_edge.vocabulary import load_vocabulary

PLACES = {
    "street": "on a street",
    "plaza": "on a square",
    "car park": "in a car park",
    "lobby": "in a lobby",
    "shop": "in a shop",
}
THINGS = {  # what a window may show besides an anomaly; the kinds of `scenes.scene.Seen` first
    "person walking": ("a person walking", "a pedestrian", "people walking past"),
    "person standing": ("people standing and talking", "a person standing", "a person crouching"),
    "cyclist": ("a cyclist riding on the road", "a bicycle on a road"),
    "car": ("a car driving on the road", "a road with moving traffic"),
    "parked car": ("a parked car", "cars in a row"),
    "street": ("an empty street", "the road and the pavement", "the wall of a building"),
    "plaza": ("a paved square", "paving slabs", "trees and benches"),
    "car park": ("an empty car park", "parking bays"),
    "lobby": ("the floor of a lobby", "an empty hall"),
    "shop": ("shelves in a shop", "goods on shelves"),
}
NOTHING_UNUSUAL = ("normal", "a normal scene", "nothing unusual")
UNKNOWN = -1  # neither clearly one thing nor another


@dataclass(frozen=True, kw_only=True)
class Captions:
    """All captions and which of them are right and wrong for each concept.

    Args:
        texts: C captions.
        concepts: names; windows have the name of an anomaly or a thing, frames "anomaly|place" or "normal|place".
        right: [concepts, C] bool.
        wrong: [concepts, C] bool, never both.
        groups: captions that say the same, as rows of texts.
    """

    texts: tuple[str, ...]
    concepts: tuple[str, ...]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    groups: tuple[tuple[int, ...], ...]

    def concept(self, name: str) -> int:
        """Row of a concept."""
        return self.concepts.index(name)


def frame_concept(anomaly: str, place: str) -> str:
    """Name of the concept of a whole frame."""
    return f"{anomaly}|{place}"


def _captions() -> Captions:
    phrases = {c.name: (c.name, *c.all_phrases) for c in load_vocabulary("scenes").classes}
    entries = [(text, anomaly, "") for anomaly in ANOMALIES for text in phrases[anomaly]]
    entries += [
        (f"{text} {PLACES[place]}", anomaly, place)
        for anomaly in ANOMALIES
        for place in SITES
        for text in phrases[anomaly]
    ]
    entries += [(text, NORMAL, "") for text in NOTHING_UNUSUAL]
    entries += [(f"an ordinary day {PLACES[place]}", NORMAL, place) for place in SITES]
    entries += [(f"people going about {PLACES[place]}", NORMAL, place) for place in SITES]
    entries += [(text, thing, "") for thing, texts in THINGS.items() for text in texts]
    frames = [frame_concept(anomaly, place) for anomaly in (NORMAL, *ANOMALIES) for place in SITES]
    concepts = (*ANOMALIES, *THINGS, *frames)
    right = np.array([[_is_right(concept, entry) for entry in entries] for concept in concepts])
    wrong = np.array([[_is_wrong(concept, entry) for entry in entries] for concept in concepts])
    meanings = dict.fromkeys(entry[1:] for entry in entries)
    return Captions(
        texts=tuple(entry[0] for entry in entries),
        concepts=concepts,
        right=right,
        wrong=wrong & ~right,
        groups=tuple(tuple(row for row, entry in enumerate(entries) if entry[1:] == said) for said in meanings),
    )


def _is_right(concept: str, entry: tuple[str, str, str]) -> bool:
    _, about, place = entry
    what, _, where = concept.partition("|")
    if where:  # a frame: its anomaly or none, here or anywhere
        return about == what and place in ("", where)
    if what in THINGS:  # a window of normal life
        return (about == what and not place) or (about == NORMAL and not place)
    return about == what and not place


def _is_wrong(concept: str, entry: tuple[str, str, str]) -> bool:
    _, about, place = entry
    what, _, where = concept.partition("|")
    if where:
        return about in (NORMAL, *ANOMALIES) and (about != what or place not in ("", where))
    return about != what and not (place and about == NORMAL)


CAPTIONS = _captions()
