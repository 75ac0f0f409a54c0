import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from numpy.typing import NDArray

from stprompt_edge import files
from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle, seal_bundle
from stprompt_edge.datasets import Dataset, LabelledVideo, load_dataset
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.features import extraction
from stprompt_edge.features.disk_space import DiskNeed
from stprompt_edge.features.files import load_features
from stprompt_edge.runtime.backends.base import Encoded
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.vocabulary import load_vocabulary
from tests import videos

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from stprompt_edge.features.extraction import (
    ExtractionSettings,
    Listener,
    extract_dataset,
    extract_from_names,
    feature_path,
)
from stprompt_edge.features.index import load_origin, load_training_videos
from stprompt_edge.model.checkpoint import load_checkpoint
from stprompt_edge.training.commands import TrainSettings, train

SETTINGS = ExtractionSettings(bundle=DEMO_BUNDLE, stride=2, backend="onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two normal and two abnormal videos, and one that is text."""
    for label in ("normal", "fighting"):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        for index in range(2):
            videos.write_video(tmp_path / "data" / "train" / label / f"{label}{index}.mp4", frames=6 + index)
    videos.write_text_as_video(tmp_path / "data" / "train" / "normal" / "text.mp4")
    return tmp_path


def test_extract_lists_the_unreadable_and_goes_on_where_it_stopped(folder: Path) -> None:
    dataset = load_dataset(folder / "data")
    said: list[str] = []
    seen: list[float] = []
    first = extract_dataset(
        dataset, folder / "f", SETTINGS, Listener(say=said.append, progress=lambda name, done: seen.append(done))
    )
    assert (first.written, first.skipped, first.left) == (4, 0, 0)
    assert [name for name, _ in first.unreadable] == ["train/normal/text.mp4"]
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert said[0].startswith("5 videos to extract, about 14 sampled frames at stride 2 (1 more of unknown length")
    assert said[1].startswith("ONNX Runtime CPU, encoder.cpu8.onnx (")
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "f").rglob("*.safetensors")}
    again = extract_dataset(dataset, folder / "f", SETTINGS)
    assert (again.written, again.skipped) == (0, 4)
    assert stamps == {path: path.stat().st_mtime_ns for path in (folder / "f").rglob("*.safetensors")}


def test_a_half_written_file_is_extracted_again(folder: Path) -> None:
    dataset = load_dataset(folder / "data")
    extract_dataset(dataset, folder / "f", SETTINGS)
    broken = next((folder / "f").rglob("*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:100])
    assert extract_dataset(dataset, folder / "f", SETTINGS).written == 1


def test_extract_into_the_data_set_goes_on_after_an_interruption(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "data" / "train")
    out = Path("features")

    def extract(until: int | None = None) -> extraction.Extraction:
        stop = threading.Event()
        listener = Listener(progress=lambda name, done: stop.set() if until is not None and done >= until else None)
        return extract_from_names(Path(), out, SETTINGS, listener, dataset_format="auto", stop=stop)

    assert extract(until=0).written == 0  # before the first video
    first = extract(until=0.3)
    assert 0 < first.written < 4
    assert not (out / "index.json").exists()
    last = extract()
    assert (last.written + last.skipped, last.left) == (4, 0)
    assert extract().skipped == 4


def test_processes_give_the_same_features(folder: Path) -> None:
    dataset = load_dataset(folder / "data")
    extract_dataset(dataset, folder / "one", SETTINGS)
    auto = replace(SETTINGS, processes=2, backend="auto", precision="cpu8", pretrained="weights that auto does not use")
    extract_dataset(dataset, folder / "two", auto)
    vocabulary = load_vocabulary("ucf-crime")
    one, two = (load_training_videos(folder / name, vocabulary)[0] for name in ("one", "two"))
    assert [video.name for video in one] == [video.name for video in two]
    for a, b in zip(one, two, strict=True):
        assert a.x_clip == pytest.approx(b.x_clip, abs=1e-3)


def test_training_videos_have_rows_of_the_vocabulary(folder: Path) -> None:
    extract_dataset(load_dataset(folder / "data"), folder / "f", SETTINGS)
    vocabulary = load_vocabulary("ucf-crime")
    loaded, spacing = load_training_videos(folder / "f", vocabulary)
    fighting = vocabulary.class_names.index("fighting")
    assert sorted(video.label for video in loaded) == [0, 0, fighting, fighting]
    assert spacing > 0
    assert load_origin(folder / "f").stride == 2
    with pytest.raises(UsageError, match="no video of the split test"):
        load_training_videos(folder / "f", vocabulary, split="test")


def test_the_default_bundle_and_then_train(folder: Path) -> None:
    """Nobody says where CLIP's weights are: the features know."""
    extract_dataset(load_dataset(folder / "data"), folder / "f", SETTINGS)
    (folder / "r.toml").write_text("stride = 2\nbatch = 4\nepochs = 1\n")
    settings = TrainSettings(
        features=folder / "f", out=folder / "c", vocabulary="ucf-crime", recipe=str(folder / "r.toml")
    )
    best = load_checkpoint(train(settings, stop=threading.Event(), on_epoch=lambda rows, recipe: None))
    assert best.clip == load_bundle(DEMO_BUNDLE).manifest.clip


@pytest.mark.parametrize("content", [None, "{", "{}", '{"videos": []}', '{"videos": [{}]}'])
def test_a_folder_without_a_good_index(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    with pytest.raises(UsageError, match=r"holds no features.*\n.*stprompt-edge extract"):
        load_training_videos(tmp_path, load_vocabulary("ucf-crime"))


def test_nothing_readable(tmp_path: Path) -> None:
    for label in ("normal", "fighting"):
        (tmp_path / "train" / label).mkdir(parents=True)
        videos.write_text_as_video(tmp_path / "train" / label / f"{label}.mp4")
    with pytest.raises(UsageError, match=r"no video of .* can be read"):
        extract_dataset(load_dataset(tmp_path), tmp_path / "f", SETTINGS)


# what a folder of footage really holds


def labelled(path: Path, name: str, label: str = "normal") -> LabelledVideo:
    return LabelledVideo(path=path, name=name, label=label, split="train")


def write_fifteen(path: Path) -> Path:
    return videos.write_video(path, frames=15)


@pytest.mark.parametrize(
    ("name", "write", "sampled", "told"),
    [
        ("fine.mp4", write_fifteen, 8, None),
        ("one.mp4", lambda path: videos.write_video(path, frames=1), 1, None),
        ("cut.mp4", lambda path: videos.write_truncated(path, index_in_front=True), None, "damaged"),
        ("cut2.mp4", lambda path: videos.write_truncated(path, index_in_front=False), 0, "index is missing"),
        ("text.mp4", videos.write_text_as_video, 0, "is not a video that FFmpeg knows"),
        ("empty.mp4", videos.write_empty, 0, r"is empty \(0 bytes\)"),
        ("missing.mp4", lambda path: path, 0, "no such file"),
        ("sound.mp4", videos.write_audio_only, 0, "has no video stream, only audio"),
        ("corrupt.mp4", videos.write_corrupted, None, "damaged"),
    ],
)
def test_odd_videos(
    tmp_path: Path, name: str, write: Callable[[Path], object], sampled: int | None, told: str | None
) -> None:
    write_fifteen(tmp_path / "good.mp4")
    write(tmp_path / name)
    pair = (labelled(tmp_path / "good.mp4", "good.mp4"), labelled(tmp_path / name, name))
    data = Dataset(name="d", root=tmp_path, videos=pair, class_names=("normal",))
    done = extract_dataset(data, tmp_path / "f", SETTINGS)
    loaded = {video.name: video for video in load_training_videos(tmp_path / "f", load_vocabulary("ucf-crime"))[0]}
    assert "good.mp4" in loaded
    if sampled == 0:
        ((what, reason),) = done.unreadable
        assert what == name
        assert name not in loaded
        assert told is not None
        assert re.search(told, reason)
        return
    assert not done.unreadable
    assert sampled is None or len(loaded[name].x_clip) == sampled
    assert [what for what, _ in done.warned] == ([name] if told else [])


def test_an_image_folder_without_a_sampled_frame(tmp_path: Path) -> None:
    import cv2

    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "0.png").write_text("damaged")
    cv2.imwrite(str(frames / "1.png"), videos.picture(1, 64, 48))
    write_fifteen(tmp_path / "good.mp4")
    pair = (labelled(tmp_path / "good.mp4", "good.mp4"), labelled(frames, "frames"))
    done = extract_dataset(
        Dataset(name="d", root=tmp_path, videos=pair, class_names=("normal",)), tmp_path / "f", SETTINGS
    )
    assert done.unreadable == (("frames", f"{frames}: none of its sampled frames can be read"),)


@pytest.mark.parametrize("name", ["/data/a.mp4", "../a.mp4", "x/../../a.mp4", "a.mp4", "deep/er/a.mp4"])
def test_features_lie_in_their_folder(tmp_path: Path, name: str) -> None:
    path = feature_path(tmp_path / "f", labelled(Path("v"), name))
    assert path.is_relative_to(tmp_path / "f")
    assert ".." not in path.parts
    assert path.name == "a.mp4.safetensors"


def test_two_videos_with_one_feature_file(tmp_path: Path) -> None:
    pair = (labelled(tmp_path / "a.mp4", "a.mp4"), labelled(tmp_path.parent / "a.mp4", "../a.mp4"))
    data = Dataset(name="d", root=tmp_path, videos=pair, class_names=("normal",))
    with pytest.raises(UsageError, match=r"'a.mp4' and '../a.mp4' would have the same feature file .*\n.*rename"):
        extract_dataset(data, tmp_path / "f", SETTINGS)
    assert not (tmp_path / "f").exists()


def test_names_that_differ_only_behind_a_dot(tmp_path: Path) -> None:
    names = ["a.mp4", "a.avi", "cam.1", "cam.2"]
    assert len({feature_path(tmp_path, labelled(tmp_path / name, name)) for name in names}) == 4


# what is there already


@pytest.fixture
def one(tmp_path: Path) -> Dataset:
    """One video of six frames."""
    videos.write_video(tmp_path / "v.mp4", frames=6)
    video = labelled(tmp_path / "v.mp4", "v.mp4")
    return Dataset(name="d", root=tmp_path, videos=(video,), class_names=("normal",))


def resealed(path: Path, **clip: object) -> ExtractionSettings:
    """Settings with a copy of the demo bundle whose clip section says this."""
    shutil.copytree(DEMO_BUNDLE, path)
    manifest = load_bundle(path).manifest
    seal_bundle(path, manifest.model_copy(update={"clip": manifest.clip.model_copy(update=clip)}))
    return replace(SETTINGS, bundle=path)


def test_a_bundle_of_other_weights_under_the_same_name(one: Dataset, tmp_path: Path) -> None:
    extract_dataset(one, tmp_path / "f", SETTINGS)
    other = resealed(tmp_path / "b", weights_sha256="0" * 64)
    with pytest.raises(
        UsageError, match=r"f was extracted with the CLIP weights \(sha256\) 2e1e24c0973d, now .* 0{12} "
    ):
        extract_dataset(one, tmp_path / "f", other)
    assert extract_dataset(one, tmp_path / "g", other).written == 1
    renamed = resealed(tmp_path / "c", weights_sha256="0" * 64, pretrained="renamed.pt")
    assert extract_dataset(one, tmp_path / "g", renamed).skipped == 1


def test_a_video_that_was_still_being_copied(one: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    content = path.read_bytes()
    videos.write_video(path, frames=2)
    extract_dataset(one, tmp_path / "f", SETTINGS)
    path.write_bytes(content)
    assert extract_dataset(one, tmp_path / "f", SETTINGS).written == 1
    assert len(load_features(feature_path(tmp_path / "f", one.videos[0])).x_clip) == 3
    path.unlink()  # features outlive their video
    assert extract_dataset(one, tmp_path / "f", SETTINGS).skipped == 1


def test_an_extraction_that_is_stopped_leaves_no_index_of_before(one: Dataset, tmp_path: Path) -> None:
    extract_dataset(one, tmp_path / "f", SETTINGS)
    stop = threading.Event()
    stop.set()
    assert extract_dataset(one, tmp_path / "f", SETTINGS, stop=stop).left == 0  # nothing to do
    assert (tmp_path / "f" / "index.json").exists()
    assert extract_dataset(one, tmp_path / "f", replace(SETTINGS, keep_windows=True), stop=stop).left == 1
    with pytest.raises(UsageError, match=r"holds no features.*\n.*let the extraction that makes them end"):
        load_origin(tmp_path / "f")


def test_features_that_are_not_finite_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, frames = OnnxBackend.encode, []

    def overflowing(backend: OnnxBackend, *arrays: NDArray) -> Encoded:
        encoded = encode(backend, *arrays)
        frames.append(encoded)
        return replace(encoded, frame=encoded.frame * 1e9) if len(frames) == 2 else encoded

    monkeypatch.setattr(OnnxBackend, "encode", overflowing)
    done = extract_dataset(load_dataset(folder / "data"), folder / "f", SETTINGS)
    assert done.written == 3
    assert [name for name, reason in done.unreadable if "not finite" in reason] == ["train/fighting/fighting0.mp4"]


@pytest.mark.parametrize("name", [f"{'a' * 232}.mp4", f"{'é' * 116}.mp4"])
def test_a_name_that_is_too_long_is_told_before_the_work(tmp_path: Path, name: str) -> None:
    pair = (labelled(tmp_path / "a.mp4", "a.mp4"), labelled(tmp_path / "v.mp4", name))
    data = Dataset(name="d", root=tmp_path, videos=pair, class_names=("normal",))
    with pytest.raises(UsageError, match=rf"of '{name}' would have a name of 248 bytes, .*f takes 247\n.*shorter"):
        extract_dataset(data, tmp_path / "f", SETTINGS)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"\xff\xfe.mp4", "日本.mp4".encode("shift_jis")])
def test_names_that_are_not_utf_8(tmp_path: Path, name: bytes) -> None:
    """From the file system into the index, and from there to the feature file."""
    for label in ("normal", "fighting"):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        video = videos.write_video(tmp_path / "data" / "train" / label / "v.mp4", frames=6)
        video.rename(video.with_name(os.fsdecode(name)))
    done = extract_dataset(load_dataset(tmp_path / "data"), tmp_path / os.fsdecode(b"\xe9"), SETTINGS)
    assert (done.written, done.unreadable) == (2, ())
    json.loads((tmp_path / os.fsdecode(b"\xe9") / "index.json").read_text(encoding="ascii"))
    loaded, _ = load_training_videos(tmp_path / os.fsdecode(b"\xe9"), load_vocabulary("ucf-crime"))
    assert {os.fsencode(video.name).rpartition(b"/")[2] for video in loaded} == {name}
    assert all(video.file is not None and video.file.is_file() for video in loaded)
    again = extract_dataset(load_dataset(tmp_path / "data"), tmp_path / os.fsdecode(b"\xe9"), SETTINGS)
    assert (again.written, again.skipped) == (0, 2)


def test_the_longest_name(tmp_path: Path) -> None:
    name = f"{'b' * 255}/{'a' * 231}.mp4"
    (tmp_path / name).parent.mkdir()
    write_fifteen(tmp_path / name)
    data = Dataset(name="d", root=tmp_path, videos=(labelled(tmp_path / name, name),), class_names=("normal",))
    assert extract_dataset(data, tmp_path / "f", SETTINGS).written == 1


def test_listed_videos_that_are_not_there_are_told(tmp_path: Path) -> None:
    write_fifteen(tmp_path / "a.mp4")
    (tmp_path / "labels.csv").write_text("video,label,split\na.mp4,normal,train\nb.mp4,fighting,train\n")
    stop = threading.Event()
    done = extract_from_names(
        tmp_path / "labels.csv", tmp_path / "f", SETTINGS, Listener(), dataset_format="auto", stop=stop
    )
    assert done.missing == ("b.mp4",)


def test_a_second_extraction_into_the_same_folder(folder: Path) -> None:
    dataset = load_dataset(folder / "data")

    def extract_again(line: str) -> None:
        with pytest.raises(UsageError, match=r"another run is writing to .*f"):
            extract_dataset(dataset, folder / "f", SETTINGS)

    assert extract_dataset(dataset, folder / "f", SETTINGS, Listener(say=extract_again)).written == 4


# the disk


@pytest.mark.parametrize("keep_windows", [True, False])
def test_the_estimate_is_what_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch, keep_windows: bool) -> None:
    needs: list[DiskNeed] = []
    estimate = extraction.disk_need
    monkeypatch.setattr(
        extraction, "disk_need", lambda *args, **options: needs.append(estimate(*args, **options)) or needs[-1]
    )
    extract_dataset(load_dataset(folder / "data"), folder / "f", replace(SETTINGS, keep_windows=keep_windows))
    written = sum(path.stat().st_size for path in (folder / "f").rglob("*") if path.is_file())
    assert needs[0].file_bytes == pytest.approx(written, rel=0.05)


def test_a_disk_that_is_too_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20_000))
    data = load_dataset(folder / "data")
    with pytest.raises(EnvironmentFailure, match=r"f has 20 kB free, the features of 5 videos need .*\n.*--force"):
        extract_dataset(data, folder / "f", SETTINGS)
    assert not list((folder / "f").iterdir())
    assert extract_dataset(data, folder / "f", replace(SETTINGS, force=True)).written == 4


def test_a_disk_that_fills_up_keeps_what_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = load_dataset(folder / "data"), folder / "f"
    sync, calls = files._fsync, []

    def full(path: Path, flags: int) -> None:
        calls.append(path)
        if path.suffix == ".partial" and sum(call.suffix == ".partial" for call in calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path, flags)

    monkeypatch.setattr(files, "_fsync", full)
    with pytest.raises(EnvironmentFailure, match=r"disk full while writing .*safetensors.*\n.*run again"):
        extract_dataset(data, out, SETTINGS)
    assert sorted(path.suffix for path in out.rglob("*") if path.is_file()) == [".safetensors"] * 2
    monkeypatch.setattr(files, "_fsync", sync)
    done = extract_dataset(data, out, SETTINGS)
    assert (done.written, done.skipped) == (2, 2)
