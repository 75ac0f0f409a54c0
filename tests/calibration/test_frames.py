"""Which frames are calibrated with, and which judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle
from stprompt_edge.calibration import frames
from stprompt_edge.calibration.frames import GATE_FRAMES, choose_frames, read_frames, spread, step_of
from stprompt_edge.errors import SourceError, UsageError
from tests.runtime.tiny import ScriptedSource, random_frames, tiny_bundle
from tests.videos import write_text_as_video, write_video


@pytest.fixture
def bundle() -> Bundle:
    return tiny_bundle()


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_spread_picks_different_rows_and_no_more_than_there_are(rows: int, count: int, seed: int) -> None:
    features = np.random.default_rng(seed).integers(0, 3, (rows, 3)) / 2
    picked = spread(features, count)
    assert len(picked) == min(rows, count)
    assert np.all(np.diff(picked) > 0)


def test_spread_takes_one_of_each_kind_before_a_second_one() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    picked = spread(np.repeat(corners, 50, axis=0), 8)
    assert sorted(picked // 50) == list(range(8))


def test_choice_is_spread_and_the_gate_is_kept_apart(bundle: Bundle) -> None:
    told: list[float] = []
    choice = choose_frames([str(DEMO_CLIP)], bundle, 16, lambda what, done: told.append(done))
    calibration, gate = ({one.frame for one in part} for part in (choice.calibration, choice.gate))
    assert (len(calibration), len(gate), calibration & gate) == (16, GATE_FRAMES, set())
    everything = frames.look_through(str(DEMO_CLIP), bundle, 16)
    assert choice.looked_at == len(everything)
    for name in ("seconds", "brightness", "motion"):
        whole, chosen = (np.array([getattr(one, name) for one in part]) for part in (everything, choice.calibration))
        assert np.ptp(chosen) > 0.6 * np.ptp(np.quantile(whole, [0.02, 0.98])), name
    assert all(len(one.windows) == bundle.manifest.method.windows for one in choice.calibration)
    assert told == sorted(told)
    assert told[-1] > 0.9


def test_frames_are_read_again_source_by_source(bundle: Bundle, tmp_path: Path) -> None:
    sources = [str(write_video(tmp_path / f"{name}.mp4", frames=40, noise=40)) for name in "ab"]
    choice = choose_frames([*sources, sources[0]], bundle, 8, lambda what, done: None)
    read = list(read_frames(choice.calibration))
    assert [one for one, _ in read] == list(choice.calibration)
    assert all(one.frame == frame.index for one, frame in read)
    assert {one.source for one, _ in read} == set(sources)


@pytest.mark.parametrize(("stride", "wanted", "step"), [(4, 8, 1), (4, 1, 4), (16, 2, 5), (1, 8, 1)])
def test_short_footage_is_looked_at_more_densely(tmp_path: Path, stride: int, wanted: int, step: int) -> None:
    assert step_of(str(write_video(tmp_path / "v.mp4", frames=40)), stride, wanted) == step
    assert step_of(str(tmp_path / "elsewhere"), stride, wanted) == stride


def test_all_windows_where_motion_compares_embeddings(tmp_path: Path) -> None:
    bundle = tiny_bundle(motion="feature")
    path = write_video(tmp_path / "v.mp4", frames=40, noise=40)
    assert len(frames.look_through(str(path), bundle, 8)[0].windows) == 49


def test_too_short_footage(bundle: Bundle, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=19, noise=40)
    with pytest.raises(UsageError, match="the footage holds 19 frames, int8 needs 20: 8 to calibrate with and 12"):
        choose_frames([str(path)], bundle, 256, lambda what, done: None)


def test_footage_that_stands_still(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    still = random_frames(1)[0]
    monkeypatch.setattr(frames, "open_source", lambda source: ScriptedSource([still] * 30))
    with pytest.raises(UsageError, match="no two different frames"):
        choose_frames(["still.mp4"], bundle, 8, lambda what, done: None)


def test_a_live_source(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ScriptedSource(random_frames(3), live=True)
    monkeypatch.setattr(frames, "open_source", lambda name: source)
    with pytest.raises(UsageError, match=r"(?s)rtsp://camera is live.*record"):
        choose_frames(["rtsp://camera"], bundle, 8, lambda what, done: None)
    assert source.closed


def test_a_source_that_cannot_be_read(bundle: Bundle, tmp_path: Path) -> None:
    path = write_text_as_video(tmp_path / "text.mp4")
    with pytest.raises(SourceError, match=r"text\.mp4 is not a video"):
        choose_frames([str(path)], bundle, 8, lambda what, done: None)
