"""What is data in a folder, and that every listing of the project leaves out the same."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import cv2
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle, seal_bundle
from stprompt_edge.datasets import load_clip_features, load_dataset
from stprompt_edge.errors import SourceError
from stprompt_edge.features.video import source_size
from stprompt_edge.listing import data_files, is_data
from stprompt_edge.runtime.cameras import resolve_source
from stprompt_edge.runtime.sources import expected_frames, open_source
from tests import videos

# the head of an AppleDouble file, as macOS writes it on other disks
APPLE_DOUBLE = struct.pack(">II16sH", 0x00051607, 0x00020000, b"Mac OS X        ", 0) + bytes(4000)
LITTER = ["._{}", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._{}", "__MACOSX/{}", "@eaDir/{}", ".hidden/{}"]


def litter(folder: Path, *names: str) -> None:
    """What macOS, Windows and Synology leave in a folder with files of these names."""
    for name in names:
        for form in LITTER:
            path = folder / form.format(name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(APPLE_DOUBLE)


def write_pictures(folder: Path, count: int = 5) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"img{number:03d}.png"), videos.picture(number, 64, 48))
    litter(folder, *(f"img{number:03d}.png" for number in range(count)))
    return folder


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jpg", True), ("_a.jpg", True), ("thumbs.jpg", True), ("MACOSX", True), ("a._b.jpg", True),
        ("._a.jpg", False), (".DS_Store", False), ("Thumbs.db", False), ("THUMBS.DB", False), ("__MACOSX", False),
        (".hidden.mp4", False), ("desktop.ini", False), ("@eaDir", False), ("$RECYCLE.BIN", False),
    ],
)  # fmt: skip
def test_is_data(name: str, data: bool) -> None:
    assert is_data(name) is data


def test_data_files_are_files_and_links_to_some(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "c.jpg").symlink_to(tmp_path / "a.jpg")
    litter(tmp_path, "a.jpg")
    assert [path.name for path in data_files(tmp_path)] == ["a.jpg", "b.jpg", "c.jpg"]


def test_pictures_keep_their_places_beside_litter(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "mac")
    assert expected_frames(folder) == source_size(folder) == 5
    with open_source(str(folder)) as source:
        frames = list(source.frames(lambda index: True))
        assert (source.info.frame_count, source.losses.undecodable_packets, source.warnings) == (5, 0, [])
    assert [(frame.index, int(frame.image_bgr[0, 0, 1])) for frame in frames] == [(n, 8 * n) for n in range(5)]


def test_data_sets_beside_litter(tmp_path: Path) -> None:
    for label in ("normal", "fire"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").touch()
        litter(tmp_path / label, "a.mp4")
        write_pictures(tmp_path / label / "shots")
    litter(tmp_path, "normal", "fire")
    names = [video.name for video in load_dataset(tmp_path).videos]
    assert names == ["fire/a.mp4", "fire/shots", "normal/a.mp4", "normal/shots"]


def test_published_lists_beside_litter(tmp_path: Path) -> None:
    (tmp_path / "Abuse").mkdir()
    (tmp_path / "Abuse" / "A__5.npy").touch()
    for name in ("ucf.csv", "ucftest.csv"):
        video = "A" if name == "ucf.csv" else "B"
        (tmp_path / name).write_text(f"path,label\nx/Abuse/{video}__5.npy,Abuse\n")
    litter(tmp_path, "ucf.csv", "ucftest.csv")
    litter(tmp_path / "Abuse", "A__5.npy")
    assert [video.name for video in load_clip_features(tmp_path).videos] == ["Abuse/A.npy"]


def test_masks_of_ubnormal_beside_litter(tmp_path: Path) -> None:
    name = "abnormal_scene_1_scenario_1"
    for kind, part in (("normal", "training"), ("normal", "test"), ("abnormal", "training"), ("abnormal", "test")):
        listed = name if (kind, part) == ("abnormal", "test") else f"{kind}_{part}"
        (tmp_path / f"{kind}_{part}_video_names.txt").write_text(f"{listed}\n")
    (tmp_path / f"{name}.mp4").touch()
    annotations = tmp_path / f"{name}_annotations"
    annotations.mkdir()
    (annotations / f"{name}_tracks.txt").write_text("1,0,3\n")
    litter(annotations, f"{name}_0000_gt.png")
    assert load_dataset(tmp_path).videos[0].masks is None
    (annotations / f"{name}_0000_gt.png").touch()
    assert load_dataset(tmp_path).videos[0].masks == annotations


def test_a_bundle_does_not_list_litter(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(DEMO_BUNDLE, tmp_path / "b"))
    before = load_bundle(bundle).manifest
    for name in ("._heads.onnx", ".DS_Store", "Thumbs.db"):
        (bundle / name).write_bytes(APPLE_DOUBLE)
    assert seal_bundle(bundle, before).manifest.files == before.files


def test_litter_is_not_what_was_meant(tmp_path: Path) -> None:
    (tmp_path / "._lobby.mp4").touch()
    with pytest.raises(SourceError) as caught:
        resolve_source(str(tmp_path / "lobby.mp4"))
    assert "did you mean" not in caught.value.remedy
