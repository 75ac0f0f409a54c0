"""Data sets in the formats of their authors: small made-up copies, the real files where they are, and refusals."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stprompt_edge.datasets import (
    Dataset,
    check_trainable,
    detect_format,
    load_clip_features,
    load_dataset,
    load_masks,
    ped2_weak_split,
)
from stprompt_edge.datasets.clip_features import read_rows
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import load_vocabulary, vocabulary_from_dict

DATA = Path(__file__).parents[3] / "shared" / "data"
ANY_ABNORMAL = vocabulary_from_dict({"name": "any", "normal_phrases": ["a street"], "classes": [{"name": "abnormal"}]})


def write(root: Path, **files: str) -> Path:
    """Text files by name (`__` for a dot) and empty videos for what is not text."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def videos(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def real(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"no data in {DATA / name}")
    return DATA / name


# UCF-Crime

UCF = {
    "Anomaly_Train__txt": "Abuse/Abuse001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\n",
    "Anomaly_Test__txt": "Arson/Arson011_x264.mp4\r\n\r\nTesting_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4\r\n",
    "Temporal_Anomaly_Annotation__txt": "Arson011_x264.mp4  Arson  150  420  680  1267  \r\n"
    "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  \r\n",
    "boxes_test__csv": "video,frame,x1,y1,x2,y2\r\nArson011_x264,150,1,1,320,240\r\nArson011_x264,150,5,6,5,6\r\n",
}


def ucf(root: Path, **changes: str) -> Path:
    names = ("Abuse/Abuse001_x264.mp4", "part2/Normal_Videos001_x264.mp4", "Arson011_x264.mp4")
    return write(videos(root, *names), **{**UCF, **changes})


def test_ucf_crime_counts_from_0_and_lists_what_is_missing(tmp_path: Path) -> None:
    dataset = load_dataset(ucf(tmp_path), vocabulary=load_vocabulary("ucf-crime"))
    abuse, normal, arson = dataset.videos
    assert [(v.label, v.split) for v in dataset.videos] == [("abuse", "train"), ("normal", "train"), ("arson", "test")]
    assert normal.path == tmp_path / "part2/Normal_Videos001_x264.mp4"
    assert (abuse.frame_ranges, arson.frame_ranges) == (None, ((149, 420), (679, 1267)))
    assert arson.boxes == {149: ((0, 0, 320, 240), (4, 5, 5, 6))}
    assert arson.boxes_size_wh == (320, 240)
    assert dataset.missing_videos == ("Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4",)
    check_trainable(dataset)


def test_ucf_crime_with_one_list_only(tmp_path: Path) -> None:
    root = ucf(tmp_path)
    for name in ("Anomaly_Train.txt", "boxes_test.csv", "Temporal_Anomaly_Annotation.txt"):
        (root / name).unlink()
    (arson,) = load_dataset(root).videos
    assert (arson.frame_ranges, arson.boxes) == (None, None)


def test_ucf_crime_with_the_training_list_and_annotations_of_the_test_videos(tmp_path: Path) -> None:
    root = ucf(tmp_path)
    (root / "Anomaly_Test.txt").unlink()
    assert [(video.split, video.frame_ranges) for video in load_dataset(root).videos] == [("train", None)] * 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Anomaly_Train__txt", "", "Anomaly_Train.txt is empty"),
        ("Anomaly_Train__txt", "Abuse001_x264.mp4", "line 1: 'Abuse001_x264.mp4', expected CLASS/NAME.mp4"),
        ("Anomaly_Train__txt", "Abuse/Abuse001_x264", "expected CLASS/NAME.mp4"),
        ("Anomaly_Train__txt", "\nAbuse/a.mp4\nAbuse/a.mp4", r"line 3: video 'a' is listed already .* line 2"),
        ("Anomaly_Train__txt", "Arson/Arson011_x264.mp4", r"Anomaly_Test.txt, line 1: video 'Arson011_x264' is listed"),
        ("Anomaly_Train__txt", "Abus/a.mp4", r"line 1: .* no class 'Abus'(.|\n)*did you mean 'Abuse'"),
        ("Temporal_Anomaly_Annotation__txt", "Arson011_x264.mp4 Arson 1 2", "line 1: 4 fields, expected 6"),
        ("Temporal_Anomaly_Annotation__txt", "x.mp4 Arson 1 2 -1 -1", "'x.mp4' is not a test video"),
        ("Temporal_Anomaly_Annotation__txt", "Arson011_x264.mp4 Abuse 1 2 -1 -1", "is 'abuse', .* says 'arson'"),
        ("Temporal_Anomaly_Annotation__txt", "Arson011_x264.mp4 Arson a 2 -1 -1", "line 1: frame is 'a'"),
        ("Temporal_Anomaly_Annotation__txt", "Arson011_x264.mp4 Arson 9 2 -1 -1", "frames from 8 to before 2"),
        ("Temporal_Anomaly_Annotation__txt", "Arson011_x264.mp4 Arson 0 2 -1 -1", "frames from -1 to"),
        ("Temporal_Anomaly_Annotation__txt", "Arson011_x264.mp4 Arson -1 -1 -1 -1", "'arson' with 0 abnormal ranges"),
        ("Temporal_Anomaly_Annotation__txt", "Normal_Videos_003_x264.mp4 Normal 1 2 -1 -1", "'normal' with 1 abnormal"),
        (
            "Temporal_Anomaly_Annotation__txt",
            "Arson011_x264.mp4 Arson 1 2 -1 -1\n" * 2,
            "line 2: video .* listed already",
        ),
        ("boxes_test__csv", "video,frame,x1,y1,x2\na,1,2,3,4", "line 1: column 'y2' is missing"),
        (
            "boxes_test__csv",
            "video,frame,x1,y1,x2,y2\nAbuse001_x264,1,1,1,2,2",
            "line 2: 'Abuse001_x264' is not a test",
        ),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nArson011_x264,0,1,1,2,2", "line 2: box 1,1,2,2 in frame 0"),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nArson011_x264,1,0,1,2,2", "line 2: box 0,1,2,2"),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nArson011_x264,1,3,1,2,2", "line 2: box 3,1,2,2"),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nArson011_x264,1,1,1,321,2", "line 2: box 1,1,321,2"),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nArson011_x264,1,1,inf,2,2", "line 2: y1 is 'inf'"),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nArson011_x264,1.5,1,1,2,2", "line 2: frame is '1.5'"),
        ("boxes_test__csv", "video,frame,x1,y1,x2,y2\nNormal_Videos_003_x264,1,1,1,2,2", "normal videos have none"),
    ],
)
def test_lines_of_ucf_crime_that_do_not_fit(tmp_path: Path, file: str, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(ucf(tmp_path, **{file: content}), vocabulary=load_vocabulary("ucf-crime"))


def test_lists_of_ucf_crime_without_any_video(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none of the 4 listed videos is under .* 'Abuse/Abuse001_x264.mp4'"):
        load_dataset(write(tmp_path, **UCF))


NUMBER = st.one_of(st.integers(-3, 330).map(str), st.sampled_from(["nan", "1e999", "9" * 400, "", "1_0"]))
BOX_ROWS = st.lists(
    st.lists(NUMBER, min_size=5, max_size=5).map(lambda row: ",".join(["Arson011_x264", *row])), max_size=4
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BOX_ROWS)
def test_any_boxes_become_a_data_set_or_a_usage_error(tmp_path: Path, rows: list[str]) -> None:
    table = "\n".join(("video,frame,x1,y1,x2,y2", *rows))
    try:
        dataset = load_dataset(ucf(tmp_path, boxes_test__csv=table))
    except UsageError:
        return
    assert isinstance(dataset, Dataset)


def test_the_real_lists_of_ucf_crime() -> None:
    dataset = load_dataset(real("ucf_crime"), vocabulary=load_vocabulary("ucf-crime"))
    (video,) = dataset.videos
    assert (video.label, video.frame_ranges) == ("road accident", ((229, 270),))
    assert video.boxes == {244: ((44, 1, 277, 124),), 260: ((75, 7, 308, 177),)}
    assert len(dataset.missing_videos) == 1899
    with pytest.raises(UsageError, match=r"0 normal and 0 abnormal .* 1899 listed videos are not there"):
        check_trainable(dataset)


# UCSD Ped2


def pack(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, mask=np.packbits(mask), shape=np.array(mask.shape))
    return path


def ped2(root: Path, abnormal: int = 2, normal: int = 2) -> Path:
    """Videos of 3 frames, 5 x 3 pixels; in abnormal ones the middle frame has one abnormal pixel."""
    mask = np.zeros((3, 3, 5), bool)
    mask[1, 2, 4] = True
    for number in range(abnormal):
        videos(root, f"test/{number:02}.mp4")
        pack(root / "masks" / f"{number:02}.npz", mask)
    return videos(root, *(f"train/{number:02}.mp4" for number in range(normal)), "test/readme.txt")


def test_ped2_has_ranges_from_its_masks(tmp_path: Path) -> None:
    dataset = load_dataset(ped2(tmp_path))
    assert [(v.name, v.label, v.frame_ranges) for v in dataset.videos] == [
        ("train/00.mp4", "normal", ()),
        ("train/01.mp4", "normal", ()),
        ("test/00.mp4", "abnormal", ((1, 2),)),
        ("test/01.mp4", "abnormal", ((1, 2),)),
    ]
    masks = dataset.videos[-1].load_masks()
    assert (masks.shape, masks.dtype, np.argwhere(masks).tolist()) == ((3, 3, 5), bool, [[1, 2, 4]])
    assert dataset.videos[-1].load_masks([1])[0, 2, 4]
    with pytest.raises(UsageError, match=r"0 abnormal videos in train(.|\n)*weakly supervised split"):
        check_trainable(dataset)
    with pytest.raises(UsageError, match=r"no class 'abnormal'(.|\n)*a vocabulary with 'abnormal'"):
        load_dataset(tmp_path, vocabulary=load_vocabulary("shanghaitech"))
    assert load_dataset(tmp_path, vocabulary=ANY_ABNORMAL).class_names == ("normal", "abnormal")


def test_the_format_ped2_weak_is_the_weak_split_of_seed_0(tmp_path: Path) -> None:
    root = ped2(tmp_path, abnormal=7, normal=5)
    dataset = load_dataset(root, "ped2-weak")
    assert dataset == ped2_weak_split(load_dataset(root), 0)
    check_trainable(dataset)


def test_the_weak_split_is_6_and_4_by_seed(tmp_path: Path) -> None:
    dataset = load_dataset(ped2(tmp_path, abnormal=12, normal=16))
    splits = [ped2_weak_split(dataset, seed) for seed in (0, 0, 1)]
    for split in splits:
        train, test = split.of_split("train"), split.of_split("test")
        assert (sum(v.is_normal for v in train), len(train), len(test)) == (4, 10, 18)
        check_trainable(split)
    assert splits[0] == splits[1] != splits[2]
    with pytest.raises(UsageError, match=r"has 2 abnormal videos, the protocol trains on 6"):
        ped2_weak_split(load_dataset(ped2(tmp_path / "few")), 0)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "No such file"),
        (b"", "cannot read "),
        (b"PK\x03\x04 no zip", "cannot read "),
        ({"mask": np.zeros(1, np.uint8)}, "shape is not a file"),
        ({"mask": np.zeros(2, np.uint8), "shape": np.array([3, 1, 1])}, "of bits for shape"),
        ({"mask": np.zeros(0, np.uint8), "shape": np.array([0, 1, 1])}, "of bits for shape"),
        ({"mask": np.zeros(1, np.uint8), "shape": np.array([2, 2])}, r"shape \(2, 2\), expected \[T, H, W\]"),
        ({"mask": np.zeros(1, np.uint8), "shape": np.array([[1]])}, "cannot read "),
        ({"mask": np.array([{}]), "shape": np.array([1, 1, 1])}, "allow_pickle"),
    ],
)
def test_masks_that_cannot_be_read(tmp_path: Path, stored: dict | bytes | None, message: str) -> None:
    path = ped2(tmp_path) / "masks" / "01.npz"
    path.unlink()
    if isinstance(stored, bytes):
        path.write_bytes(stored)
    elif stored is not None:
        np.savez(path, **stored)
    with pytest.raises(UsageError, match=message):
        load_dataset(tmp_path)


def test_a_frame_without_a_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 2 masks, asked for frames \[2\]"):
        load_masks(pack(tmp_path / "a.npz", np.ones((2, 1, 1), bool)), [2])


def test_the_real_ped2() -> None:
    dataset = load_dataset(real("ped2"))
    assert detect_format(DATA / "ped2") == "ped2"
    assert [len(dataset.of_split(split)) for split in ("train", "test")] == [16, 12]
    ranges = [video.frame_ranges for video in dataset.of_split("test")]
    assert ranges[:3] == [((60, 180),), ((94, 180),), ((0, 146),)]
    assert dataset.videos[-1].load_masks([86, 87]).any(axis=(1, 2)).tolist() == [False, True]


# ShanghaiTech


def shanghaitech(root: Path, train: str = "01_001,0\n01_0014,1\n", test: str = "01_002 0\n01_0015,1\n") -> Path:
    names = ("training/videos/01_001.avi", "testing/frames/01_0014/000.jpg", "training/videos/01_002.avi")
    write(videos(root, *names, "testing/frames/01_0015/000.jpg"), SH_Train__txt=train, SH_Test__txt=test)
    frame_mask(root, "01_0015", [0, 1, 1, 0])
    return root


def frame_mask(root: Path, name: str, frames: Sequence[float]) -> None:
    folder = root / "testing" / "test_frame_mask"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", np.array(frames))


def test_shanghaitech(tmp_path: Path) -> None:
    dataset = load_dataset(shanghaitech(tmp_path, train="01_001,0\n01_0014,1\n02_001,0\n"))
    assert [(v.name, v.label, v.split, v.frame_ranges) for v in dataset.videos] == [
        ("01_001", "normal", "train", None),
        ("01_0014", "abnormal", "train", None),
        ("01_002", "normal", "test", ()),
        ("01_0015", "abnormal", "test", ((1, 3),)),
    ]
    assert dataset.videos[1].path == tmp_path / "testing/frames/01_0014"
    assert dataset.missing_videos == ("02_001",)
    check_trainable(dataset)


def test_classes_beside_the_lists_say_what_happens(tmp_path: Path) -> None:
    write(shanghaitech(tmp_path), classes__csv="video,label\n01_0014,fall\n01_0015,car\n")
    dataset = load_dataset(tmp_path, vocabulary=load_vocabulary("shanghaitech"))
    assert [video.label for video in dataset.videos] == ["normal", "fall", "normal", "car"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("01_0014,fall", "SH_Test.txt, line 2: '01_0015' is not in .*classes.csv"),
        ("01_0014,fall\n01_0014,car", "line 3: video '01_0014' is listed already"),
        ("01_001,fall\n01_0014,car", r"line 2: '01_001' is fall, .*SH_Train.txt, line 1 says normal"),
        ("01_0014,normal", r"'01_0014' is normal, .* says abnormal"),
        ("01_0014,fal", r"line 2: .* no class 'fal'(.|\n)*did you mean 'fall'"),
    ],
)
def test_classes_that_do_not_fit(tmp_path: Path, rows: str, message: str) -> None:
    write(shanghaitech(tmp_path), classes__csv=f"video,label\n{rows}\n")
    with pytest.raises(UsageError, match=message):
        load_dataset(tmp_path, vocabulary=load_vocabulary("shanghaitech"))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("", "SH_Test.txt is empty"),
        ("01_0015", "line 1: '01_0015', expected NAME,0 or NAME,1"),
        ("01_0015,2", "expected NAME,0 or NAME,1"),
        ("01_0015,1\n01_0015,1", "line 2: video '01_0015' is listed already"),
        ("01_0014,1", r"SH_Test.txt, line 1: video '01_0014' is listed already .*SH_Train.txt, line 2"),
        ("01_0015,0", "label of '01_0015' is normal, yet 2 frames"),
        ("01_002,1", "abnormal test video '01_002' has no test_frame_mask/01_002.npy"),
    ],
)
def test_lines_of_shanghaitech_that_do_not_fit(tmp_path: Path, test: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(shanghaitech(tmp_path, test=test))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "expected .T. of 0 and 1"),
        ([[0, 1]], "expected .T. of 0 and 1"),
        ([0, 2], "expected .T. of 0 and 1"),
        ([0, np.nan], "expected .T. of 0 and 1"),
        ([0, 0], "label of '01_0015' is abnormal, yet 0 frames"),
        (["a"], "no numeric array"),
    ],
)
def test_frame_masks_that_do_not_fit(tmp_path: Path, frames: list, message: str) -> None:
    frame_mask(shanghaitech(tmp_path), "01_0015", frames)
    with pytest.raises(UsageError, match=message):
        load_dataset(tmp_path)


def test_videos_and_masks_of_shanghaitech_in_linked_folders(tmp_path: Path) -> None:
    shanghaitech(tmp_path / "disk")
    root = write(tmp_path / "data", SH_Train__txt="01_001,0\n01_0014,1\n", SH_Test__txt="01_002 0\n01_0015,1\n")
    for part in ("training", "testing"):
        (root / part).symlink_to(tmp_path / "disk" / part)
    dataset = load_dataset(root)
    assert (len(dataset.videos), dataset.missing_videos) == (4, ())
    assert dataset.videos[-1].frame_ranges == ((1, 3),)


def test_a_missing_list_of_shanghaitech_is_named(tmp_path: Path) -> None:
    (shanghaitech(tmp_path) / "SH_Test.txt").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*SH_Test.txt"):
        load_dataset(tmp_path)


# UBnormal

SCENE = "abnormal_scene_2_scenario_1"


def ubnormal(root: Path, tracks: str = "1.0,2.0,3.0\n4,3,5\n", **changes: str) -> Path:
    lists = {
        "normal_training_video_names__txt": "normal_scene_1_scenario_1\n",
        "abnormal_training_video_names__txt": "abnormal_scene_1_scenario_1\n",
        "normal_test_video_names__txt": "normal_scene_2_scenario_1\n",
        "abnormal_test_video_names__txt": f"{SCENE}\nabnormal_scene_9_scenario_9\n",
    }
    names = [f"Scene{n}/{kind}_scene_{n}_scenario_1.mp4" for n in (1, 2) for kind in ("normal", "abnormal")]
    write(videos(root, *names) / "scripts", **{**lists, **changes})
    write(root / "Scene2" / f"{SCENE}_annotations", **{f"{SCENE}_tracks__txt": tracks})
    return root


def test_ubnormal(tmp_path: Path) -> None:
    dataset = load_dataset(ubnormal(tmp_path))
    assert [(v.name, v.label, v.split, v.frame_ranges) for v in dataset.videos] == [
        ("normal_scene_1_scenario_1", "normal", "train", None),
        ("abnormal_scene_1_scenario_1", "abnormal", "train", None),
        ("normal_scene_2_scenario_1", "normal", "test", ()),
        (SCENE, "abnormal", "test", ((2, 6),)),
    ]
    assert dataset.missing_videos == ("abnormal_scene_9_scenario_9",)
    check_trainable(dataset)


def test_masks_of_ubnormal_are_the_pixels_of_active_tracks(tmp_path: Path) -> None:
    folder = ubnormal(tmp_path) / "Scene2" / f"{SCENE}_annotations"
    picture = np.array([[0, 1], [4, 7]], np.uint8)  # objects 1 and 4 are abnormal, 7 is a passer-by
    for frame in range(7):
        cv2.imwrite(str(folder / f"{SCENE}_{frame:04d}_gt.png"), picture)
    video = load_dataset(tmp_path).videos[-1]
    assert video.masks == folder
    by_frame = video.load_masks().reshape(7, 4).tolist()
    nothing, first, both, second = [False] * 4, [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]
    assert by_frame == [nothing, nothing, first, both, second, second, nothing]
    assert video.load_masks([3]).shape == (1, 2, 2)
    with pytest.raises(UsageError, match=r"_0007_gt.png: no picture of the video's size"):
        video.load_masks([7])
    with pytest.raises(UsageError, match=r"no \*_gt.png in it"):
        video.load_masks([])


def test_corrected_tracks_go_first(tmp_path: Path) -> None:
    folder = ubnormal(tmp_path) / "Scene2" / f"{SCENE}_annotations"
    write(folder, **{f"{SCENE}_new_tracks__txt": "1,0,0\n"})
    assert load_dataset(tmp_path).videos[-1].frame_ranges == ((0, 1),)


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ("", "_tracks.txt is empty"),
        ("1,2", "line 1: 2 fields, expected 3"),
        ("1,2,3\n1,a,3", "line 2: field is 'a'"),
        ("1,5,3", "line 1: abnormal frames from 5 to before 4"),
        ("1,-1,3", "line 1: abnormal frames from -1"),
    ],
)
def test_tracks_that_do_not_fit(tmp_path: Path, tracks: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(ubnormal(tmp_path, tracks))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("normal_test_video_names__txt", SCENE, "line 1: 'abnormal_scene_2_scenario_1' in the list of normal videos"),
        ("normal_test_video_names__txt", "normal_scene_1_scenario_1", "is listed already"),
        ("abnormal_test_video_names__txt", "abnormal_scene_1_scenario_1", "is listed already"),
        ("abnormal_test_video_names__txt", "", "abnormal_test_video_names.txt is empty"),
    ],
)
def test_lists_of_ubnormal_that_do_not_fit(tmp_path: Path, file: str, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(ubnormal(tmp_path, **{file: content}))


# features of CLIP


def clip_features(root: Path, *rows: str, test: Sequence[str] = ("Arson/b__5.npy,Arson",)) -> Path:
    rng = np.random.default_rng(0)
    for name in ("Abuse/a__0", "Abuse/a__1", "Arson/b__5", "Normal/n__5"):
        (root / "features" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "features" / f"{name}.npy", rng.normal(size=(4, 512)).astype(np.float16))
    rows = rows or ("Abuse/a__1.npy,Abuse", "Abuse/a__0.npy,Abuse", "Normal/n__5.npy,Normal")
    for name, lines in (("ucf", rows), ("ucftest", test)):
        lines = ("path,label", *(f"/home/authors/{line}" for line in lines))
        (root / f"{name}.csv").write_text("\n".join(lines))
    return root


def test_one_crop_of_each_video_is_taken(tmp_path: Path) -> None:
    rows = [f"Abuse/a__{crop}.npy,Abuse" for crop in (1, 0)] + [f"Normal/n__{crop}.npy,Normal" for crop in (0, 5)]
    root = clip_features(tmp_path, *rows)
    np.save(root / "features/Normal/n__0.npy", np.zeros((4, 512)))
    dataset = load_clip_features(root / "ucf.csv", load_vocabulary("ucf-crime"))
    assert [(v.name, v.label, v.split, v.path.name) for v in dataset.videos] == [
        ("Abuse/a.npy", "abuse", "train", "a__0.npy"),
        ("Normal/n.npy", "normal", "train", "n__5.npy"),
        ("Arson/b.npy", "arson", "test", "b__5.npy"),
    ]
    check_trainable(dataset)
    features = read_rows(dataset.videos[0].path)
    assert (features.shape, features.dtype) == ((4, 512), np.float32)
    assert load_clip_features(root / "ucftest.csv").of_split("test")[0].name == "Arson/b.npy"
    assert load_clip_features(root) == load_clip_features(root / "ucf.csv")
    (root / "features/Normal/n__5.npy").unlink()
    assert load_clip_features(root).videos[1].path.name == "n__0.npy"


def test_paths_that_are_true_go_before_what_lies_below_the_list(tmp_path: Path) -> None:
    root = clip_features(tmp_path / "lists")
    np.save(write(tmp_path / "disk" / "Abuse") / "a__0.npy", np.ones((2, 512)))
    rows = ("path,label", f"{tmp_path}/disk/Abuse/a__0.npy,Abuse", "features/Normal/n__5.npy,Normal")
    (root / "ucf.csv").write_text("\n".join(rows))
    found = [video.path for video in load_clip_features(root / "ucf.csv").of_split("train")]
    assert found == [tmp_path / "disk/Abuse/a__0.npy", root / "features/Normal/n__5.npy"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Abuse/a.npy,Abuse"], r"line 2: path is .*expected .../CLASS/NAME__N.npy"),
        (["Abuse/a__10.npy,Abuse"], "expected .../CLASS/NAME__N.npy"),
        (["Abuse/a__0.npy,Abuse", "Abuse/a__0.npy,Abuse"], r"line 3: video 'Abuse/a__0.npy' is listed already"),
        (
            ["Abuse/a__0.npy,Abuse", "Abuse/a__1.npy,Arson"],
            "line 3: 'Abuse/a.npy' is Arson in train, another .* Abuse in train",
        ),
        (["Arson/b__0.npy,Arson"], r"ucftest.csv, line 2: 'Arson/b.npy' is Arson in test, another crop .* in train"),
    ],
)
def test_lists_of_features_that_do_not_fit(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_clip_features(clip_features(tmp_path, *rows))


def test_features_that_are_missing_are_listed(tmp_path: Path) -> None:
    rows = ["Abuse/a__0.npy,Abuse", "Abuse/a__9.npy,Abuse", "Abuse/z__0.npy,Abuse", "Arrest/y__1.npy,Arrest"]
    root = clip_features(tmp_path, *rows)
    dataset = load_clip_features(root)
    assert dataset.missing_videos == ("Abuse/z.npy", "Arrest/y.npy")
    assert [video.name for video in dataset.videos] == ["Abuse/a.npy", "Arson/b.npy"]
    with pytest.raises(UsageError, match=r"0 normal and 1 abnormal videos in train.* 2 listed videos"):
        check_trainable(dataset)
    shutil.rmtree(root / "features")
    with pytest.raises(UsageError, match=r"none of the 4 listed videos is under"):
        load_clip_features(root)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(512), r"a__5\.npy has shape \[512\], expected \[T, 512\]"),
        (np.zeros((0, 512)), r"has shape \[0, 512\], expected \[T, 512\]"),
        (np.zeros((2, 768)), r"has shape \[2, 768\], expected \[T, 512\]"),  # ViT-L/14's
        (np.zeros((10, 2, 512)), r"has shape \[10, 2, 512\], expected \[T, 512\]: .* one crop alone"),
        (np.zeros((512, 2)), r"has shape \[512, 2\], expected \[T, 512\]"),
        (np.float32(1), r"has shape \[\], expected \[T, 512\]"),
        (np.full((2, 512), np.nan), r"a__5\.npy: 1024 of 1024 values of the array are NaN or infinite"),
        (np.where(np.eye(512), -np.inf, 0), "512 of 262144 values of the array are NaN or infinite"),
        (np.full((2, 512), 1e300), "1024 of 1024 values of the array as float32 are NaN or infinite"),
        (np.array(["a"]), "no numeric array"),
        (np.zeros((2, 512), complex), "no numeric array"),
    ],
)
def test_features_that_cannot_be_used(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a__5.npy", array)
    with pytest.raises(UsageError, match=message):
        read_rows(tmp_path / "a__5.npy")


def test_a_folder_must_have_one_pair_of_lists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 0 pairs of lists"):
        load_clip_features(tmp_path)


@pytest.mark.parametrize(
    ("make", "format"),
    [(ucf, "ucf-crime"), (ped2, "ped2"), (shanghaitech, "shanghaitech"), (ubnormal, "ubnormal")],
)
def test_the_format_is_told_by_the_files(tmp_path: Path, make: object, format: str) -> None:
    assert callable(make)
    assert detect_format(make(tmp_path)) == format
