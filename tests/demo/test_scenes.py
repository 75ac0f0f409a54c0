"""Rendered CCTV: deterministic, exactly labelled, and no camera in both splits."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from demo.scenes import (
    ANOMALIES,
    NORMAL,
    DatasetSpec,
    SceneSpec,
    plan,
    render_dataset,
    render_video,
)
from demo.scenes.activity import NEVER, NOWHERE, normal_activity
from demo.scenes.camera import camera_towards
from demo.scenes.plan import CAMERAS, CLOSE
from demo.scenes.scene import SITES, Stage
from demo.scenes.sites import Framing
from demo.scenes.sprites import View
from demo.scenes.video_file import write_video
from stprompt_edge.errors import UsageError

SMALL = {"size_wh": (256, 144), "fps": 10, "supersample": 2}


def place_of(anomaly: str) -> tuple[str, float]:
    """A scene and a framing at which the planner lets an anomaly happen."""
    scene, framing, _ = next(camera for camera in CAMERAS if anomaly in camera[2])
    return scene, sum(framing) / 2


def spec_of(anomaly: str, **changes: object) -> SceneSpec:
    scene, fraction = place_of(anomaly) if anomaly != NORMAL else ("street", CLOSE[0])
    given = {"scene_seed": 7, "seed": 11, "scene": scene, "person_fraction": fraction, "anomaly": anomaly}
    timing = {"seconds": 16.0} if anomaly == NORMAL else {"start_s": 4.0, "end_s": 12.0, "seconds": 16.0}
    return SceneSpec(**{**given, **timing, **SMALL, **changes})  # type: ignore[arg-type]


def digest(spec: SceneSpec) -> str:
    summary = hashlib.sha256()
    for frame in render_video(spec):
        summary.update(frame.image_bgr.tobytes())
        summary.update(repr(frame.boxes).encode())
    return summary.hexdigest()


class TestRenderVideo:
    @pytest.mark.parametrize("scene", SITES)
    def test_yields_as_many_frames_as_asked_for(self, scene: str) -> None:
        frames = list(render_video(spec_of(NORMAL, scene=scene, seconds=0.5)))
        assert len(frames) == 5
        for frame in frames:
            assert frame.image_bgr.shape == (144, 256, 3)
            assert frame.image_bgr.dtype == np.uint8
            assert frame.image_bgr.std() > 10, "an even picture shows nothing"
            assert frame.boxes == ()
            assert frame.label == 0

    def test_same_seed_same_frames(self) -> None:
        spec = spec_of("fighting", start_s=0.1, end_s=0.9, seconds=1.0)
        assert digest(spec) == digest(spec)

    @pytest.mark.parametrize("seed_name", ["scene_seed", "seed"])
    def test_another_seed_gives_other_frames(self, seed_name: str) -> None:
        short = {"start_s": 0.1, "end_s": 0.4, "seconds": 0.5}
        assert digest(spec_of("fighting", **short)) != digest(spec_of("fighting", **short, **{seed_name: 12}))

    @pytest.mark.parametrize("anomaly", ANOMALIES)
    def test_boxes_are_where_and_when_it_happens(self, anomaly: str) -> None:
        spec = spec_of(anomaly)
        stage = Stage(spec)
        areas, labelled_inside, outside = [], [], []
        for index in range(0, spec.frame_count, 5):
            t = index / spec.fps
            frame = stage.frame(index, t)
            assert frame.label == int(bool(frame.boxes))
            covered = np.zeros((144, 256), bool)
            for x0, y0, x1, y1 in frame.boxes:
                assert 0 <= x0 < x1 <= 256
                assert 0 <= y0 < y1 <= 144
                covered[y0:y1, x0:x1] = True
            if frame.boxes:
                areas.append(covered.mean())
            (labelled_inside if 5 <= t < 11 else outside).append(frame.label)
        assert np.mean(labelled_inside) >= 0.8
        assert outside[0] == 0
        shares = np.array(areas)
        assert np.mean((shares >= 0.02) & (shares <= 0.12)) >= 0.7

    def test_boxes_are_exact(self) -> None:
        """Without its anomaly the same moment differs inside the box and nowhere far from it."""
        spec = spec_of("fire and smoke", scene="plaza")
        frame = Stage(spec).frame(80, 8.0)
        later = Stage(spec_of("fire and smoke", scene="plaza", start_s=10.0, end_s=14.0)).frame(80, 8.0)
        changed = np.abs(frame.image_bgr.astype(int) - later.image_bgr).max(axis=2) > 60
        (x0, y0, x1, y1) = frame.boxes[0]
        assert changed[y0:y1, x0:x1].any()
        rows, columns = np.nonzero(changed)
        assert rows.min() >= y0 - 2
        assert rows.max() < y1 + 2
        assert columns.min() >= x0 - 2
        assert columns.max() < x1 + 2

    @pytest.mark.parametrize("scene", ["plaza", "lobby"])
    def test_normal_life_moves(self, scene: str) -> None:
        """Motion alone does not tell an anomaly: normal videos move half of the time or more."""
        stage = Stage(spec_of(NORMAL, scene=scene))
        frames = [stage.frame(index, index / 10).image_bgr.astype(int) for index in range(0, 160, 10)]
        moved = [(np.abs(a - b).max(axis=2) > 40).mean() for a, b in pairwise(frames)]
        assert np.mean(np.array(moved) > 0.004) >= 0.5

    def test_life_is_under_way_when_the_video_starts(self) -> None:
        site = SITES["street"](np.random.default_rng(1), Framing(person_fraction=0.3, size_wh=(256, 144)))
        view = View(camera=site.camera, lighting=site.lighting, supersample=1)
        shown = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            free = {"closed_way": NEVER, "closed_lane": NEVER, "keep_out": NOWHERE}
            actors = normal_activity(rng, site, 20.0, **free)
            shown.append([sum(actor.drawn(t, view) is not None for actor in actors) for t in (0.0, 10.0)])
        first, later = np.mean(shown, axis=0)
        assert first > 0.6 * later

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"scene": "stret"}, "did you mean 'street'"),
            ({"anomaly": "fightin"}, "did you mean 'fighting'"),
            ({"start_s": 9.0, "end_s": 3.0}, "0 <= start_s < end_s <= seconds"),
            ({"end_s": 99.0}, "0 <= start_s < end_s <= seconds"),
            ({"person_fraction": 0.05}, "choose person_fraction from 0.12 to 0.5"),
            ({"scene": "shop", "person_fraction": 0.2}, "choose person_fraction from 0.24 to 0.5"),
            ({"scene": "plaza", "anomaly": "car crash"}, "choose one of: street, car park"),
        ],
    )
    def test_says_what_is_wrong(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            replace(spec_of("fighting"), **changes)  # type: ignore[arg-type]


class TestPlan:
    def test_default_benchmark(self) -> None:
        videos = plan(DatasetSpec(seed=1))
        assert Counter(video.split for video in videos) == {"train": 60, "test": 40}
        assert len({video.name for video in videos}) == 100
        assert all(20 <= video.spec.seconds <= 60 for video in videos)
        for split in ("train", "test"):
            labels = Counter(video.spec.anomaly for video in videos if video.split == split)
            assert set(labels) == {NORMAL, *ANOMALIES}
            assert labels[NORMAL] == sum(labels.values()) / 2

    @pytest.mark.parametrize("attribute", ["scene_seed", "seed"])
    def test_splits_share_no_camera_and_no_activity(self, attribute: str) -> None:
        videos = plan(DatasetSpec(seed=3))
        seeds = {
            split: {getattr(video.spec, attribute) for video in videos if video.split == split}
            for split in ("train", "test")
        }
        assert not seeds["train"] & seeds["test"]

    def test_a_camera_shows_normal_and_abnormal_life(self) -> None:
        by_camera: dict[str, set[bool]] = {}
        for video in plan(DatasetSpec(seed=5, train=60, test=39)):
            by_camera.setdefault(video.camera, set()).add(video.spec.anomaly == NORMAL)
        assert all(seen == {True, False} for seen in by_camera.values())

    def test_more_test_videos_leave_the_train_videos_as_they_are(self) -> None:
        assert plan(DatasetSpec(seed=2, train=9, test=3))[:9] == plan(DatasetSpec(seed=2, train=9, test=8))[:9]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"train": 0, "test": 0}, "at least one video"),
            ({"train": -1}, "at least one video"),
            ({"seconds": (5.0, 30.0)}, "shortest length of at least 10 s"),
            ({"seconds": (30.0, 20.0)}, "a longest one not below it"),
            ({"fps": 0}, "at least 1 frame per second"),
            ({"size_wh": (321, 180)}, "an even size"),
            ({"size_wh": (32, 32)}, "64 x 64 is the smallest"),
        ],
    )
    def test_says_what_is_wrong(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            DatasetSpec(**{"seed": 1, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "new"
    render_dataset(out, 4, 2, 1, seconds=(10.0, 11.0), fps=5, size_wh=(128, 72))
    return out


class TestRenderDataset:
    def test_labels_name_every_video(self, folder: Path) -> None:
        rows = list(csv.DictReader((folder / "labels.csv").read_text(encoding="utf-8").splitlines()))
        assert [row["split"] for row in rows] == ["train", "train", "test"]
        assert rows[0]["label"] == NORMAL
        assert rows[1]["label"] in ANOMALIES
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4"))
        assert found == sorted(row["video"] for row in rows)

    def test_annotations_fit_the_videos(self, folder: Path) -> None:
        notes = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
        assert notes["schema"] == 1
        for name, video in notes["videos"].items():
            with av.open(str(folder / name)) as container:
                shapes = [(frame.width, frame.height) for frame in container.decode(video=0)]
            assert len(shapes) == video["frames"]
            assert set(shapes) == {tuple(video["size_wh"])}
            inside = {frame for first, end in video["intervals"] for frame in range(first, end)}
            assert inside == {int(frame) for frame in video["boxes"]}
            assert bool(inside) == (video["label"] != NORMAL)

    def test_nothing_partial_is_left(self, folder: Path) -> None:
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".mp4", ".csv", ".json"}

    def test_refuses_a_finished_folder(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="choose an empty folder"):
            render_dataset(folder, 4, 1, 0)

    def test_reports_progress(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int, str]] = []
        videos = render_dataset(
            tmp_path,
            1,
            1,
            0,
            seconds=(10.0, 10.0),
            fps=1,
            size_wh=(128, 72),
            progress=lambda *event: seen.append(event),
        )
        assert seen == [(1, 1, videos[0].name)]


def test_a_video_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def images():
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("the renderer broke")

    with pytest.raises(RuntimeError, match="the renderer broke"):
        write_video(images(), tmp_path / "a.mp4", fps=5, size_wh=(64, 64), crf=30)
    assert list(tmp_path.iterdir()) == []


def test_video_without_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stprompt_edge.errors import EnvironmentFailure

    monkeypatch.setattr(av, "codecs_available", set())
    with pytest.raises(EnvironmentFailure, match="no libx264"):
        write_video([], tmp_path / "a.mp4", fps=5, size_wh=(64, 64), crf=30)


def test_a_camera_frames_a_person_as_asked() -> None:
    camera = camera_towards(distance=9.0, height=4.0, yaw=0.4, person_fraction=0.3, anchor_v=0.7, size_wh=(640, 360))
    pixels, depth = camera.project(np.array([(0.0, 0.0, 0.0), (0.0, 1.75, 0.0)]))
    assert pixels[0] == pytest.approx((320, 0.7 * 360), abs=0.5)
    assert (pixels[0] - pixels[1])[1] / 360 == pytest.approx(0.3, rel=0.15)
    assert depth[0] == pytest.approx(camera.depth_at(0, 0))


def test_the_packaged_clip_opens_and_is_small() -> None:
    from demo.scenes.demo_clip import DEMO, DEMO_CLIP

    assert DEMO_CLIP.stat().st_size < 1_900_000
    with av.open(str(DEMO_CLIP)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (*DEMO.size_wh, DEMO.frame_count)
        assert stream.average_rate == DEMO.fps
    assert 0.4 <= DEMO.start_s / DEMO.seconds <= 0.6
