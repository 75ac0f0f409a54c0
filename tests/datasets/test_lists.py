"""Class folders, CSV lists and rendered scenes: what they become, and every line that is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stprompt_edge.datasets import Dataset, LabelledVideo, check_trainable, detect_format, load_dataset
from stprompt_edge.datasets.reading import Labels, merge_ranges, ranges_of_frames
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import load_vocabulary, vocabulary_from_dict

DATA = Path(__file__).parents[3] / "shared" / "data"
SCENE = {"label": "fire", "size_wh": [64, 48], "intervals": [[2, 4]], "boxes": {"2": [[0, 0, 8, 8]]}}


def touch(root: Path, *names: str) -> Path:
    """Empty files: the lists are read without opening a video."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def csv_list(root: Path, *rows: str) -> Path:
    path = touch(root, "a.mp4", "b.mp4", "c.mp4") / "list.csv"
    path.write_text("\n".join(("video,label,split", *rows)) + "\n", encoding="utf-8")
    return path


def scenes(root: Path, **changes: object) -> Path:
    """A rendered data set of two videos; changes go into the annotation of the abnormal one."""
    touch(root, "train/a.mp4", "test/b.mp4")
    (root / "labels.csv").write_text("video,label,split\ntrain/a.mp4,normal,train\ntest/b.mp4,fire,test\n")
    normal = {"label": "normal", "size_wh": [64, 48], "intervals": [], "boxes": {}}
    videos = {"train/a.mp4": normal, "test/b.mp4": {**SCENE, **changes}}
    (root / "annotations.json").write_text(json.dumps({"schema": 1, "seed": 0, "videos": videos}))
    return root


def seen(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(video.name, video.label, video.split) for video in dataset.videos]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Normal/a.mp4"], [("Normal/a.mp4", "normal", "train")]),
        (["fire/x/b.AVI", "fire/notes.txt"], [("fire/x/b.AVI", "fire", "train")]),
        (["test/fire/a.mp4"], [("test/fire/a.mp4", "fire", "test")]),
        (
            ["train/normal/a.mp4", "train/fire/a.mp4", "test/fire/a.mp4", ".git/x.mp4", "readme.txt"],
            [
                ("test/fire/a.mp4", "fire", "test"),
                ("train/fire/a.mp4", "fire", "train"),
                ("train/normal/a.mp4", "normal", "train"),
            ],
        ),
    ],
)
def test_class_folders(tmp_path: Path, names: list[str], expected: list[tuple[str, str, str]]) -> None:
    dataset = load_dataset(touch(tmp_path, *names))
    assert seen(dataset) == expected
    assert dataset.class_names == (("normal", "fire") if "fire" in str(names) else ("normal",))
    assert dataset.videos[0].path == tmp_path / expected[0][0]


def test_linked_folders_are_followed_and_lead_in_no_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.mp4", "deeper/b.mp4")
    root = touch(tmp_path / "data", "normal/n.mp4", "fire/own.mp4")
    (root / "fire" / "camera").symlink_to(tmp_path / "elsewhere")
    (root / "fire" / "up").symlink_to(root)  # back to where it lies, and to `normal`
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    names = [video.name for video in load_dataset(root).videos if video.label == "fire"]
    assert names == ["fire/camera/a.mp4", "fire/camera/deeper/b.mp4", "fire/own.mp4", "fire/up/normal/n.mp4"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["normal/a.mp4", "fire/s1/0.jpg", "fire/s1/1.jpg", "fire/s2/0.PNG"], ["fire/s1", "fire/s2", "normal/a.mp4"]),
        (["normal/cam/s/0.bmp", "fire/b.mp4", "fire/s/0.jpg"], ["fire/b.mp4", "fire/s", "normal/cam/s"]),
        (["normal/a.mp4", "normal/a.jpg", "fire/x/b.mp4", "fire/x/b.jpg", "fire/poster.png"],
         ["fire/x/b.mp4", "normal/a.mp4"]),  # previews
        (["train/normal/s.1/0.jpg", "test/fire/s.1/0.jpg", "train/fire/notes.txt", "train/fire/s/0.jpg"],
         ["test/fire/s.1", "train/fire/s", "train/normal/s.1"]),
        (["normal/s/0.jpg", "normal/results/metrics.json", "normal/results/roc.png"], ["normal/s"]),
        (["normal/s/0.jpg", "normal/s/index.json", "fire/s/0.jpg", "fire/f/index.json"], ["fire/s", "normal/s"]),
        (["normal/s/0.jpg", "checkpoint/best.safetensors", "checkpoint/curves.png"], ["normal/s"]),
    ],
)  # fmt: skip
def test_folders_of_pictures_are_videos(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    assert [video.name for video in load_dataset(touch(tmp_path, *names)).videos] == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["normal/a.mp4", "fire/0.jpg", "fire/1.jpg"], r"class folder .*fire holds pictures.*\n.*as .*fire/video1"),
        (["0.jpg", "1.jpg"], r"is a folder of pictures, one video\n.*one folder per class"),
        (
            ["normal/a.mp4", "fire/s/0.jpg", "fire/s/masks/0.png"],
            r"fire/s holds pictures and .*fire/s/masks too: which",
        ),
        (["fire/0.jpg", "fire/s/0.jpg"], r"class folder .*fire holds pictures"),
        (["fire/notes.txt"], "one folder of pictures for each"),
    ],
)
def test_pictures_that_are_no_video(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(touch(tmp_path, *names))


def test_a_csv_may_list_folders_of_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "s/0.jpg", "empty/notes.txt", "b.mp4")
    found = load_dataset(csv_list(tmp_path, "s,fire,train", "b.mp4,normal,train", "empty,fire,train", "no,fire,train"))
    assert [video.name for video in found.videos] == ["s", "b.mp4"]
    assert found.missing_videos == ("empty", "no")


def test_what_begins_with_a_dot_is_no_video(tmp_path: Path) -> None:
    root = touch(tmp_path, "fire/a.mp4", "fire/._a.mp4", "fire/.trash/b.mp4", "normal/.hidden/c/d.mp4", "normal/n.mp4")
    assert [video.name for video in load_dataset(root).videos] == ["fire/a.mp4", "normal/n.mp4"]


@pytest.mark.parametrize("split", ["", "train/"])
@pytest.mark.parametrize(
    "written",
    [
        ["features/train/fire/a.safetensors"],  # interrupted
        ["features/train/fire/a.safetensors.partial"],  # killed
        ["features/index.json"],
        ["results/metrics.json", "results/roc.png"],
        ["checkpoint/best.safetensors", "checkpoint/curves.csv"],
        ["stprompt-edge-out/annotated.mp4", "stprompt-edge-out/report.html"],
        ["{split}fire/stprompt-edge-out/annotated.mp4"],
    ],
)
def test_what_our_commands_wrote_into_the_data_set_is_no_class(tmp_path: Path, split: str, written: list[str]) -> None:
    names = [f"{split}fire/a.mp4", f"{split}normal/n.mp4"]
    root = touch(tmp_path, *names, *(name.format(split=split) for name in written))
    assert [video.name for video in load_dataset(root).videos] == names


def test_a_class_folder_with_an_index_of_its_own_is_a_class(tmp_path: Path) -> None:
    root = touch(tmp_path, "fire/a.mp4", "fire/index.json", "normal/n.mp4", "normal/x.safetensors")
    assert len(load_dataset(root).videos) == 2


def test_composed_and_decomposed_letters_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = "inc\u00eandie", "ince\u0302ndie"
    words = {"name": "v", "normal_phrases": ["a yard"], "classes": [{"name": composed}]}
    root = touch(tmp_path, f"train/{decomposed}/a.mp4", f"test/{composed}/b.mp4")
    for vocabulary in (None, vocabulary_from_dict(words)):
        dataset = load_dataset(root, vocabulary=vocabulary)
        assert dataset.class_names == ("normal", composed)
        assert {video.label for video in dataset.videos} == {composed}


@pytest.mark.parametrize("label", ["\u0622\u062a\u0634\u200c\u0633\u0648\u0632\u06cc", "\u0915\u094d\u200d\u0937"])
def test_labels_may_have_the_joiners_of_persian_and_hindi(tmp_path: Path, label: str) -> None:
    assert load_dataset(csv_list(tmp_path, f"a.mp4,{label},train")).class_names == ("normal", label)
    with pytest.raises(UsageError, match="label is empty or not printable"):
        load_dataset(csv_list(tmp_path, "a.mp4,\u200c,train"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no class folders"),
        (["a.mp4"], "a.mp4 lies in no class folder"),
        (["train/a.mp4"], "a.mp4 lies in no class folder"),
        (["fire/a.txt"], "fire holds no video"),
        (["train/fire/a.mp4", "val/fire/a.mp4"], "val lies beside train or test and is neither"),
        (["train/Fire/a.mp4", "test/fire/a.mp4"], "label 'Fire' was spelled 'fire' before"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(touch(tmp_path, *names))


def test_a_csv_list(tmp_path: Path) -> None:
    path = csv_list(tmp_path, " a.mp4 ,Normal,TRAIN", "", "b.mp4,fire,test", "gone.mp4,fire,train")
    dataset = load_dataset(path)
    assert seen(dataset) == [("a.mp4", "normal", "train"), ("b.mp4", "fire", "test")]
    assert (dataset.missing_videos, dataset.class_names) == (("gone.mp4",), ("normal", "fire"))
    assert dataset.row(dataset.videos[1]) == 1
    assert [video.name for video in dataset.of_split("test")] == ["b.mp4"]


def test_a_byte_order_mark_line_ends_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    path = touch(tmp_path, "a.mp4") / "list.csv"
    path.write_bytes(b'\xef\xbb\xbfnote,Video,LABEL,split\r\n"x, y",a.mp4,fire,train\r\n')
    assert seen(load_dataset(path)) == [("a.mp4", "fire", "train")]


def test_labels_become_the_class_names_of_a_vocabulary(tmp_path: Path) -> None:
    path = csv_list(tmp_path, "a.mp4,RoadAccidents,train", "b.mp4,road accident,test")
    dataset = load_dataset(path, vocabulary=load_vocabulary("ucf-crime"))
    assert [video.label for video in dataset.videos] == ["road accident"] * 2
    assert dataset.class_names == load_vocabulary("ucf-crime").class_names
    with pytest.raises(UsageError, match=r"list.csv, line 2: .* no class 'Figting'(.|\n)*did you mean 'Fighting'"):
        load_dataset(csv_list(tmp_path, "a.mp4,Figting,train"), vocabulary=load_vocabulary("ucf-crime"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has a header and no rows"),
        (["a.mp4,fire"], "line 2: 2 fields, expected 3"),
        (["a.mp4,fire,train,x"], "line 2: 4 fields, expected 3"),
        (["a.mp4,fire,train", "b.mp4,fire,tset"], r"line 3: split is 'tset'(.|\n)*did you mean 'test'"),
        (["a.mp4,fire,"], "line 2: split is ''"),
        (["a.mp4,,train"], "line 2: label is empty"),
        (["a.mp4,fi\x07re,train"], "line 2: label is empty or not printable"),
        ([",fire,train"], "line 2: column 'video' is empty"),
        (["a.mp4,fire,train", "b.mp4,fire,test", "./a.mp4,fire,test"], r"line 4: video 'a.mp4' .* line 2"),
        (["a.mp4,fire,train", "b.mp4,Fire,test"], "line 3: label 'Fire' was spelled 'fire' before"),
        (["x.mp4,fire,train", "y.mp4,fire,train"], "none of the 2 listed videos is under"),
        (['a.mp4,"fire,train'], "line 2: unexpected end of data"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(csv_list(tmp_path, *rows))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "list.csv is empty"),
        (b" \r\n\n", "list.csv is empty"),
        (b"video,label\na.mp4,fire\n", r"line 1: column 'split' is missing"),
        (b"\nvideo,labels,split\na.mp4,fire,test\n", r"line 2: column 'label' is missing(.|\n)*did you mean 'labels'"),
        (b"video;label;split\na.mp4;fire;test\n", r"column 'video' is missing(.|\n)*separated by commas"),
        (b"video,label,split,split\na.mp4,fire,test,test\n", "column 'split' appears twice"),
        (b"video,label,split\na.mp4,fire,test\nb\xe4.mp4,fire,test\n", "line 3: not UTF-8"),
        ("video,label,split\na.mp4,fire,test\n".encode("utf-16"), "line 1: not UTF-8"),
        (b"path,label\na.npy,fire\n", r"is a list of features(.|\n)*stprompt-edge extract LIST"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_dataset(tmp_path / "list.csv")


def test_a_list_of_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """As the bytes of the file system; a list in another encoding than the names is told of."""
    for name in (b"caf\xe9.mp4", "caf\u00e9.mp4".encode(), b"\xff.mp4"):
        (tmp_path / os.fsdecode(name)).touch()
    rows = b"caf\xe9.mp4,fire,test\ncaf\xc3\xa9.mp4,fire,test\n\xff.mp4,normal,test\n"
    (tmp_path / "list.csv").write_bytes(b"video,label,split\n" + rows)
    assert [os.fsencode(video.path.name) for video in load_dataset(tmp_path / "list.csv").videos] == [
        b"caf\xe9.mp4", "caf\u00e9.mp4".encode(), b"\xff.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize("row", [b"\xfcber.mp4,fire,test", b"a.mp4,feu cr\xe9\xe9,test", b"a.mp4,fire,t\xe9st"])
def test_a_list_in_another_encoding(tmp_path: Path, row: bytes) -> None:
    (touch(tmp_path, "a.mp4", "\u00fcber.mp4") / "list.csv").write_bytes(b"video,label,split\n" + row)
    with pytest.raises(UsageError, match=r"list.csv, line 2: not UTF-8 text\n.*save the file again as UTF-8"):
        load_dataset(tmp_path / "list.csv")


FIELD = st.one_of(
    st.sampled_from(["a.mp4", "b.mp4", "normal", "fire", "train", "test", '"', "\0", "x" * 5000]), st.text()
)
TABLE = st.lists(st.lists(FIELD, max_size=4).map(",".join), max_size=5).map(
    lambda rows: "\n".join(("video,label,split", *rows)).encode("utf-8", "surrogatepass")
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(TABLE, st.binary(max_size=60)))
@example(b"video,label,split\na\0.mp4,fire,train")
@example(b"video,label,split\n" + b"a" * 200_000 + b",fire,train")
def test_any_csv_becomes_a_data_set_or_a_usage_error(tmp_path: Path, content: bytes) -> None:
    (touch(tmp_path, "a.mp4", "b.mp4") / "list.csv").write_bytes(content)
    try:
        dataset = load_dataset(tmp_path / "list.csv")
    except UsageError:
        return
    assert isinstance(dataset, Dataset)
    assert dataset.videos


def test_scenes_have_ranges_and_boxes(tmp_path: Path) -> None:
    dataset = load_dataset(scenes(tmp_path, intervals=[[2, 4], [7, 9], [4, 5]]))
    normal, fire = dataset.videos
    assert (normal.frame_ranges, fire.frame_ranges) == ((), ((2, 5), (7, 9)))
    assert (fire.boxes, fire.boxes_size_wh) == ({2: ((0, 0, 8, 8),)}, (64, 48))
    assert fire.frame_labels(8).tolist() == [False, False, True, True, True, False, False, True]
    assert not normal.frame_labels(3).any()
    with pytest.raises(UsageError, match=r"has 6 frames, its annotation begins at frame 7"):
        fire.frame_labels(6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intervals": [[4, 2]]}, r"test/b.mp4: abnormal frames from 4 to before 2"),
        ({"intervals": [[-1, 2]]}, r"abnormal frames from -1"),
        ({"intervals": [[1]]}, r"annotations.json: videos.test/b.mp4.intervals.0"),
        ({"boxes": {"x": []}}, r"annotations.json: videos.test/b.mp4.boxes"),
        ({"boxes": {"-1": [[0, 0, 8, 8]]}}, r"of frame -1 is"),
        ({"boxes": {"1": [[8, 0, 0, 8]]}}, r"is reversed, empty or outside 64x48"),
        ({"boxes": {"1": [[0, 0, 65, 8]]}}, r"is reversed, empty or outside 64x48"),
        ({"size_wh": [0, 48]}, r"size_wh.0"),
        ({"label": "fall"}, r"label is 'fire', annotations.json says 'fall'"),
    ],
)
def test_annotations_that_do_not_fit(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(scenes(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "annotations.json is empty"),
        ("{", "annotations.json: its JSON: Invalid JSON"),
        ("[" * 100_000, "annotations.json: its JSON: Invalid JSON"),
        ('{"videos": {}}', "annotations.json: schema: Field required"),
        ('{"schema": 2, "videos": {}}', "has schema 2, expected 1"),
        ('{"schema": 1, "videos": {}}', "line 2: 'train/a.mp4' is not in annotations.json"),
    ],
)
def test_files_that_are_no_annotations(tmp_path: Path, content: str, message: str) -> None:
    (scenes(tmp_path) / "annotations.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        ("nowhere", "auto", r"nowhere does not exist"),
        ("a\0b", "auto", r"does not exist"),
        ("a.mp4", "auto", r"is no CSV and no folder"),
        (".", "ped", r"unknown data set format 'ped'(.|\n)*did you mean 'ped2'"),
        (".", "csv", r"has no labels.csv or split.csv"),
        ("a.mp4", "folders", r"cannot read folder"),
        ("a.mp4", "ucf-crime", r"has neither Anomaly_Train.txt nor Anomaly_Test.txt"),
    ],
)
def test_paths_that_are_no_data_set(tmp_path: Path, path: str, format: str, message: str) -> None:
    touch(tmp_path, "a.mp4")
    with pytest.raises(UsageError, match=message):
        load_dataset(f"{tmp_path}/{path}", format)


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        (["a.mp4,normal,train", "b.mp4,fire,test"], "1 normal and 0 abnormal"),
        (["a.mp4,normal,test", "b.mp4,fire,train", "c.mp4,fall,train"], "0 normal and 2 abnormal"),
        (["a.mp4,normal,test", "gone.mp4,fire,train"], "0 normal and 0 abnormal .* 1 listed videos are not there"),
    ],
)
def test_training_needs_both_kinds(tmp_path: Path, rows: list[str], counts: str) -> None:
    with pytest.raises(UsageError, match=counts):
        check_trainable(load_dataset(csv_list(tmp_path, *rows)))
    check_trainable(load_dataset(csv_list(tmp_path, "a.mp4,normal,train", "b.mp4,fire,train")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "val"}, "split is 'val', expected train or test"),
        ({"label": "normal", "frame_ranges": ((0, 1),)}, "its label is normal, yet"),
        ({"frame_ranges": ((3, 2),)}, r"frame range \[3, 2\) is negative, reversed or overlaps"),
        ({"frame_ranges": ((0, 3), (2, 4))}, r"frame range \[2, 4\)"),
        ({"frame_ranges": ((-1, 3),)}, r"frame range \[-1, 3\)"),
        ({"boxes": {0: ((0, 0, 1, 1),)}}, "boxes without boxes_size_wh"),
    ],
)
def test_videos_that_cannot_be(fields: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelledVideo(**{"path": Path("a"), "name": "a", "label": "fire", "split": "test", **fields})


def test_an_abnormal_video_without_annotation_has_no_frame_labels_nor_masks() -> None:
    video = LabelledVideo(path=Path("a"), name="a", label="fire", split="test")
    with pytest.raises(UsageError, match=r"'a' has no frame-level annotation"):
        video.frame_labels(3)
    with pytest.raises(UsageError, match=r"'a' has no pixel masks"):
        video.load_masks()


def test_data_sets_that_cannot_be() -> None:
    video = LabelledVideo(path=Path("a"), name="a", label="fire", split="test")
    for videos, classes, message in (
        ((), ("normal",), "data set 'd' has no videos"),
        ((video, video), ("normal", "fire"), "two videos 'a'"),
        ((video,), ("normal", "fall"), "label 'fire' of 'a' is not in its classes"),
    ):
        with pytest.raises(UsageError, match=message):
            Dataset(name="d", root=Path(), videos=videos, class_names=classes)


@given(st.lists(st.booleans(), max_size=20))
def test_ranges_and_frames_say_the_same(frames: list[bool]) -> None:
    import numpy as np

    ranges = ranges_of_frames(np.array(frames, bool))
    back = [any(first <= frame < last for first, last in ranges) for frame in range(len(frames))]
    assert back == frames
    assert merge_ranges((frame, frame + 1) for frame, shown in enumerate(frames) if shown) == ranges


def test_labels_without_a_vocabulary_are_sorted_after_normal() -> None:
    labels = Labels(None)
    assert [labels.label(text, "here") for text in ("b", " a ", "NORMAL", "b")] == ["b", "a", "normal", "b"]
    assert labels.class_names == ("normal", "a", "b")


def test_surv_fight() -> None:
    if not (DATA / "surv_fight").is_dir():
        pytest.skip(f"no footage in {DATA / 'surv_fight'}")
    assert detect_format(DATA / "surv_fight") == "csv"
    dataset = load_dataset(DATA / "surv_fight", vocabulary=load_vocabulary("ucf-crime"))
    check_trainable(dataset)
    assert (len(dataset.of_split("train")), len(dataset.of_split("test"))) == (140, 60)
    assert sum(video.label == "fighting" for video in dataset.videos) == 100
    assert not dataset.missing_videos
