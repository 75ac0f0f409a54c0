from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.errors import UsageError
from stprompt_edge.training.datasets import load_dataset
from stprompt_edge.vocabulary import load_vocabulary
from tests import videos

pytest.importorskip("torch")

from stprompt_edge.training.extraction import (
    ExtractionSettings,
    Listener,
    extract_dataset,
    load_origin,
    load_training_videos,
)

SETTINGS = ExtractionSettings(bundle=DEMO_BUNDLE, stride=2)


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


def test_a_half_written_file_and_another_stride_are_extracted_again(folder: Path) -> None:
    dataset = load_dataset(folder / "data")
    extract_dataset(dataset, folder / "f", SETTINGS)
    broken = next((folder / "f").rglob("*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:100])
    assert extract_dataset(dataset, folder / "f", SETTINGS).written == 1
    other = ExtractionSettings(bundle=DEMO_BUNDLE, stride=3)
    assert extract_dataset(dataset, folder / "f", other).written == 4


def test_processes_give_the_same_features(folder: Path) -> None:
    dataset = load_dataset(folder / "data")
    extract_dataset(dataset, folder / "one", SETTINGS)
    extract_dataset(dataset, folder / "two", ExtractionSettings(bundle=DEMO_BUNDLE, stride=2, processes=2))
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
    with pytest.raises(UsageError, match="no video of this split"):
        load_training_videos(folder / "f", vocabulary, split="test")


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
