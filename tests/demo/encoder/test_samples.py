from pathlib import Path

import numpy as np
import pytest

from demo.encoder.captions import CAPTIONS, UNKNOWN
from demo.encoder.samples import (
    FRAMES_PER_PLACE,
    load_samples,
    render_place,
    render_samples,
    window_concepts,
)
from demo.scenes.scene import ANOMALIES, NORMAL, RenderedFrame, SceneSpec, Seen
from stprompt_edge.errors import UsageError
from stprompt_edge.geometry import Geometry

SPEC = SceneSpec(scene_seed=0, seed=0, scene="plaza", person_fraction=0.3, anomaly="fighting", start_s=1, end_s=2)
GEOMETRY = Geometry()


def shown(boxes=(), seen=()) -> RenderedFrame:
    return RenderedFrame(np.zeros((180, 320, 3), np.uint8), boxes, int(bool(boxes)), seen)


def concept_of(frame: RenderedFrame, window: int, grid=GEOMETRY.fine) -> str:
    row = int(window_concepts(frame, SPEC, GEOMETRY, grid)[window])
    return "unknown" if row == UNKNOWN else CAPTIONS.concepts[row]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [  # the first fine window is 32 of 224 pixels: 45.7 x 25.7 of 320 x 180
        (shown(), "plaza"),
        (shown(boxes=((0, 0, 46, 26),)), "fighting"),
        (shown(boxes=((0, 0, 46, 12),)), "fighting"),  # less than half of the window, but all of the anomaly
        (shown(boxes=((0, 0, 46, 60),)), "fighting"),  # fills the window, though more than half is elsewhere
        (shown(boxes=((30, 10, 200, 150),)), "unknown"),
        (shown(boxes=((44, 24, 200, 150),)), "plaza"),
        (shown(seen=(Seen("person walking", (0, 0, 10, 26)),)), "person walking"),
        (shown(seen=(Seen("person walking", (0, 0, 4, 26)),)), "plaza"),
        (shown(seen=(Seen("person walking", (0, 0, 10, 26)), Seen("car", (0, 0, 46, 26)))), "car"),
        (shown(boxes=((0, 0, 46, 26),), seen=(Seen("person walking", (0, 0, 46, 26)),)), "fighting"),
    ],
)
def test_what_the_first_fine_window_shows(frame, expected):
    assert concept_of(frame, 0) == expected


def test_a_coarse_window_shows_what_is_mostly_inside():
    small = shown(boxes=((10, 10, 40, 30),))
    assert concept_of(small, 0, GEOMETRY.coarse) == "fighting"
    assert concept_of(small, 15, GEOMETRY.coarse) == "plaza"


def test_a_place_has_frames_with_and_without_its_anomaly():
    place = render_place(0, 3)
    names = [CAPTIONS.concepts[row].partition("|")[0] for row in place.frame_concepts]
    assert len(place) == FRAMES_PER_PLACE
    assert NORMAL in names
    assert any(name in ANOMALIES for name in names)
    assert place.image_bgr(0).shape == (180, 320, 3)
    assert place.fine_concepts.shape == (FRAMES_PER_PLACE, 49)
    assert place.coarse_concepts.shape == (FRAMES_PER_PLACE, 16)
    assert place.patch_concepts.shape == (FRAMES_PER_PLACE, 196)


def test_what_was_rendered_is_loaded_and_the_same_seed_gives_the_same(tmp_path: Path):
    render_samples(tmp_path / "a", 5, 1)
    loaded, again = load_samples(tmp_path / "a"), render_place(5, 0)
    assert [jpeg.tobytes() for jpeg in loaded.jpegs] == [jpeg.tobytes() for jpeg in again.jpegs]
    np.testing.assert_array_equal(loaded.fine_concepts, again.fine_concepts)


def test_no_place_and_foreign_files_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="0 places"):
        render_samples(tmp_path / "a", 0, 0)
    (tmp_path / "b").write_bytes(b"not safetensors")
    with pytest.raises(UsageError, match="does not hold captioned frames"):
        load_samples(tmp_path / "b")
