import numpy as np
import pytest

from demo.encoder.captions import CAPTIONS, PLACES, THINGS, frame_concept
from demo.scenes.scene import ANOMALIES, NORMAL, SITES
from stprompt_edge.vocabulary import load_vocabulary


def texts(concept: str, table: np.ndarray) -> set[str]:
    return {text for text, is_in in zip(CAPTIONS.texts, table[CAPTIONS.concept(concept)], strict=True) if is_in}


def test_every_concept_has_right_and_wrong_captions_and_none_is_both():
    assert CAPTIONS.right.shape == CAPTIONS.wrong.shape == (len(CAPTIONS.concepts), len(CAPTIONS.texts))
    assert CAPTIONS.right.any(axis=1).all()
    assert CAPTIONS.wrong.any(axis=1).all()
    assert not (CAPTIONS.right & CAPTIONS.wrong).any()


def test_anomalies_come_first_so_that_a_row_below_their_number_is_abnormal():
    assert CAPTIONS.concepts[: len(ANOMALIES)] == ANOMALIES
    assert set(PLACES) == set(SITES) <= set(THINGS)


def test_captions_are_unique():
    assert len(set(CAPTIONS.texts)) == len(CAPTIONS.texts)


@pytest.mark.parametrize(
    ("concept", "right", "wrong", "neither"),
    [
        ("fighting", "people fighting", "a person walking", "people fighting on a street"),
        ("person walking", "a pedestrian", "people fighting", "an ordinary day on a street"),
        ("person walking", "nothing unusual", "an explosion with a bright flash", "people going about in a shop"),
        (frame_concept("fighting", "shop"), "people fighting in a shop", "people fighting on a street", "a pedestrian"),
        (frame_concept("fighting", "shop"), "fighting", "nothing unusual", "shelves in a shop"),
        (frame_concept(NORMAL, "lobby"), "an ordinary day in a lobby", "someone sprinting in a lobby", "a pedestrian"),
        (frame_concept(NORMAL, "lobby"), "a normal scene", "an ordinary day in a shop", "an empty hall"),
    ],
)
def test_what_is_right_wrong_and_neither(concept, right, wrong, neither):
    assert right in texts(concept, CAPTIONS.right)
    assert wrong in texts(concept, CAPTIONS.wrong)
    assert neither in CAPTIONS.texts
    assert neither not in texts(concept, CAPTIONS.right) | texts(concept, CAPTIONS.wrong)


def test_the_vocabulary_speaks_in_captions():
    vocabulary = load_vocabulary("scenes")
    said = set(CAPTIONS.texts)
    assert set(vocabulary.abnormal_phrases) <= said
    assert set(vocabulary.normal_phrases) <= said
    assert set(vocabulary.class_names) <= said
