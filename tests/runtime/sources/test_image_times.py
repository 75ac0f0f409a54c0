"""When pictures were taken: a given rate, numbers, dates in names, EXIF; and which numbers are missing."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.sources.image_times import gap_warning
from tests import videos


def write(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), videos.picture(number, 32, 24))
    return folder


def exif(taken: str, fraction: str = "") -> bytes:
    """An APP1 segment with DateTimeOriginal and SubSecTimeOriginal, by Exif 2.32: big-endian TIFF, two directories."""
    date, sub = taken.encode() + b"\0", fraction.encode() + b"\0"
    entries = [(0x9003, date), (0x9291, sub)] if fraction else [(0x9003, date)]
    at = 8 + 2 + 12 + 4  # behind the header and a directory of one entry
    tail = at + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(">H", len(entries)), b""
    for tag, value in entries:
        stored = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(">I", tail + len(values))
        values += value if len(value) > 4 else b""
        directory += struct.pack(">HHI", tag, 2, len(value)) + stored
    pointer = struct.pack(">HHHII", 1, 0x8769, 4, 1, at) + struct.pack(">I", 0)
    body = b"Exif\0\0" + b"MM\0*" + struct.pack(">I", 8) + pointer + directory + struct.pack(">I", 0) + values
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def write_exif(folder: Path, stamps: Sequence[tuple[str, str]]) -> Path:
    write(folder, [f"{number}.jpg" for number in range(len(stamps))])
    for number, (taken, fraction) in enumerate(stamps):
        path = folder / f"{number}.jpg"
        data = path.read_bytes()
        path.write_bytes(data[:2] + exif(taken, fraction) + data[2:])
    return folder


def seconds_of(folder: Path, **options: object) -> tuple[list[float], float, bool]:
    with open_source(str(folder), **options) as source:  # type: ignore[arg-type]
        seconds = [frame.seconds for frame in source.frames(lambda index: True)]
        return seconds, source.info.fps, source.info.fps_assumed


@pytest.mark.parametrize(
    ("fps", "rate", "assumed", "seconds"),
    [(None, 25.0, True, [0, 0.04, 0.08]), (10.0, 10.0, False, [0, 0.1, 0.2]), (0.5, 0.5, False, [0, 2, 4])],
)
def test_one_follows_the_other(
    tmp_path: Path, fps: float | None, rate: float, assumed: bool, seconds: list[float]
) -> None:
    found = seconds_of(write(tmp_path / "f", ["3.png", "4.png", "90.png"]), fps=fps)
    assert found == (pytest.approx(seconds), rate, assumed)


@pytest.mark.parametrize(
    ("names", "fps", "seconds", "rate"),
    [
        (["frame_0.png", "frame_1.png", "frame_2.png"], 10.0, [0, 0.1, 0.2], 10.0),
        (["frame_7.png", "frame_8.png", "frame_20.png", "frame_21.png"], 10.0, [0, 0.1, 1.3, 1.4], 10.0),
        (["f0.png", "f5.png", "f10.png", "f15.png"], 25.0, [0, 0.2, 0.4, 0.6], 5.0),  # every fifth was kept
        (["1714979289000.png", "1714979289040.png", "1714979289081.png"], 1000.0, [0, 0.04, 0.081], 24.691358),
        (["cam2_0001_x.png", "cam2_0002_x.png"], 2.0, [0, 0.5], 2.0),
        (["9.png"], 2.0, [0], 2.0),
    ],
)
def test_numbers_are_frames(tmp_path: Path, names: list[str], fps: float, seconds: list[float], rate: float) -> None:
    found = seconds_of(write(tmp_path / "f", names), fps=fps, times="number")
    assert found == (pytest.approx(seconds), rate, False)


def test_numbers_without_a_rate_are_assumed_ones(tmp_path: Path) -> None:
    found = seconds_of(write(tmp_path / "f", ["0.png", "50.png"]), times="number")
    assert found == (pytest.approx([0, 2.0]), 0.5, True)


@pytest.mark.parametrize(
    ("form", "names", "seconds"),
    [
        ("%Y%m%d_%H%M%S", ["20240228_235959.png", "20240229_000001.png", "20240301_000000.png"], [0, 2, 86401]),
        ("%Y-%m-%dT%H.%M.%S", ["c1_2024-05-06T07.08.09-hd.png", "c1_2024-05-06T07.09.09-hd.png"], [0, 60]),
        ("%Y%m%d%H%M%S%f", ["20240506070809250.png", "20240506070809500.png"], [0, 0.25]),
        ("%H%M%S", ["a12_070809.png", "a12_070810.png"], [0, 1]),
        ("%y%j", ["24365.png", "24366.png"], [0, 86400]),
    ],
)
def test_dates_in_names(tmp_path: Path, form: str, names: list[str], seconds: list[float]) -> None:
    found = seconds_of(write(tmp_path / "f", names), times=f"name:{form}")
    assert found[0] == pytest.approx(seconds, abs=1e-6)
    assert found[2] is False


@pytest.mark.parametrize(
    ("stamps", "seconds", "rate"),
    [
        ([("2024:05:06 07:08:09", "25"), ("2024:05:06 07:08:10", "75")], [0, 1.5], 0.666667),
        ([("2024:05:06 07:08:09", ""), ("2024:05:06 07:08:10", ""), ("2024:05:06 07:08:12", "")], [0, 1, 3], 0.666667),
        ([("2023:12:31 23:59:59", "900"), ("2024:01:01 00:00:00", "000")], [0, 0.1], 10.0),
    ],
)
def test_exif(tmp_path: Path, stamps: list[tuple[str, str]], seconds: list[float], rate: float) -> None:
    pytest.importorskip("PIL")
    found = seconds_of(write_exif(tmp_path / "f", stamps), times="exif")
    assert found == (pytest.approx(seconds, abs=1e-6), pytest.approx(rate, abs=1e-4), False)


@pytest.mark.parametrize("times", ["exif", "name:%Y%m%d"])
def test_one_picture_has_no_rate(tmp_path: Path, times: str) -> None:
    pytest.importorskip("PIL")
    folder = write_exif(tmp_path / "f", [("2024:05:06 07:08:09", "")])
    (folder / "0.jpg").rename(folder / "20240506.jpg")
    assert seconds_of(folder, times=times) == ([0.0], 25.0, True)


def test_a_damaged_picture_costs_no_other_its_time(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    folder = write_exif(tmp_path / "f", [(f"2024:05:06 07:08:{second:02d}", "") for second in (0, 4, 8)])
    (folder / "1.jpg").write_bytes(b"no picture")
    with open_source(str(folder), times="exif") as source:
        frames = [(frame.index, frame.seconds) for frame in source.frames(lambda index: True)]
        assert frames == [(0, 0.0), (2, 8.0)]
        assert source.warnings == ["skipped 1 unreadable images, the first is 1.jpg"]


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(EnvironmentFailure, match=r"reading EXIF needs a package.*\n.*stprompt-edge\[exif\]"):
        open_source(str(write(tmp_path / "f", ["0.png"])), times="exif")


@pytest.mark.parametrize(
    ("names", "options", "what", "remedy"),
    [
        (["0.png", "1.png"], {"fps": 0.0}, "--fps is 0", "above 0, and up to 1000"),
        (["0.png", "1.png"], {"fps": -5.0}, "--fps is -5", "above 0"),
        (["0.png", "1.png"], {"fps": 2000.0}, "--fps is 2000", "up to 1000"),
        (["0.png", "1.png"], {"fps": float("nan"), "times": "number"}, "--fps is nan", "above 0"),
        (["0.png", "1.png"], {"times": "numbr"}, "unknown --times 'numbr'", "did you mean 'number'"),
        (["0.png", "1.png"], {"times": "name:"}, "unknown --times 'name:'", "name:%Y%m%d_%H%M%S"),
        (["0.png", "1.png"], {"times": "name:%b"}, "'%b' is not read from names", "%Y, %m, %d"),
        (["0.png", "1.png"], {"times": "name:%Y%"}, "'%' is not read from names", "%Y, %m, %d"),
        (["0.png", "1.png"], {"times": "exif", "fps": 5.0}, "--times exif leaves nothing to --fps", "leave one"),
        (["a.png", "b.png"], {"times": "number"}, "a.png does not say its time", "another pattern"),
        (["x20240231.png"], {"times": "name:%Y%m%d"}, "x20240231.png does not say its time", "another pattern"),
        (["x1202402010.png"], {"times": "name:%Y%m%d"}, "x1202402010.png does not say", "another pattern"),
        (["0.png", "1.png"], {"times": "exif"}, "0.png does not say its time", "another pattern"),
        (["a2.png", "b1.png"], {"times": "number", "fps": 1.0}, r"b1.png comes -1 s after a2.png", "must increase"),
        (["a1.jpg", "a1.png"], {"times": "number", "fps": 1.0}, r"a1.png comes \+0 s after a1.jpg", "must increase"),
        (["1_0709.png", "2_0708.png"], {"times": "name:%H%M"}, r"2_0708.png comes -60 s after 1_0709", "must increase"),
    ],
)
def test_times_that_cannot_be(
    tmp_path: Path, names: list[str], options: dict[str, object], what: str, remedy: str
) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        open_source(str(write(tmp_path / "f", names)), **options)  # type: ignore[arg-type]
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v.mp4", {"fps": 10.0}, "v.mp4 has times of its own, --fps cannot change them"),
        ("videotestsrc ! videoconvert", {"fps": 10.0}, "is a pipeline, which has no --fps"),
        ("v.mp4", {"times": "number"}, "v.mp4 is a video, which has no --times"),
        ("http://127.0.0.1:9/v.mp4", {"times": "number"}, "is a video, which has no --times"),
        ("/dev/video98", {"times": "number"}, "is a video, which has no --times"),
        (".", {"stream": 1}, "is an image folder, which has no --stream"),
        (".", {"live": True}, "is an image folder, which has no --live/--file"),
        ("videotestsrc ! videoconvert", {"live": False}, "is a pipeline, which has no --live/--file"),
    ],
)
def test_options_of_other_kinds_of_source(tmp_path: Path, name: str, options: dict[str, object], message: str) -> None:
    source = str(videos.write_video(tmp_path / name)) if name == "v.mp4" else name
    with pytest.raises(UsageError, match=message):
        open_source(source, **options)  # type: ignore[arg-type]


def numbered(form: str, *ranges: tuple[int, int], step: int = 1) -> list[Path]:
    return [Path(form.format(number)) for first, last in ranges for number in range(first, last, step)]


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (numbered("f_{}.jpg", (0, 6), (60, 63), (140, 143)),
         "54 pictures missing between f_5.jpg and f_60.jpg; 131 in all, in 2 gaps"),
        (numbered("img{:03d}.png", (1, 5), (6, 20)), "1 pictures missing between img004.png and img006.png"),
        (numbered("{}.bmp", (500, 520, ), (600, 610)), "80 pictures missing between 519.bmp and 600.bmp"),
        (numbered("f{}.png", (0, 50), (100, 150), step=5), "10 pictures missing between f45.png and f100.png"),
        ([Path("f0.png"), Path("f1.png"), Path("f3.png")], "1 pictures missing between f1.png and f3.png"),
        ([Path("f1.png"), Path("f8.png"), Path("f9.png")], "6 pictures missing between f1.png and f8.png"),
        (numbered("f{}.png", (7, 30)), None),
        (numbered("f{}.png", (0, 30), step=5), None),
        (numbered("f{}.png", (0, 1), (55, 56)), None),  # a step of 55, perhaps
        ([Path(f"{name}.png") for name in "abcde"], None),
        ([*numbered("cam1_{}.png", (0, 5)), *numbered("cam2_{}.png", (90, 95))], None),
        (numbered("20240506_0708{:02d}.png", (0, 5), (30, 40)), None),  # a time of day
        (numbered("17149792890{:02d}.png", (0, 5), (30, 40)), None),  # seconds since 1970
        ([Path(f"f{number}.png") for number in (1, 5, 11, 12, 30, 44)], None),
        ([Path("a1.jpg"), Path("a1.png"), Path("a9.png")], None),
        ([Path("one.png")], None),
    ],
)  # fmt: skip
def test_missing_numbers(paths: list[Path], told: str | None) -> None:
    assert gap_warning(paths) == told


def test_missing_pictures_are_a_warning_of_the_source(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", [path.name for path in numbered("{}.png", (0, 4), (6, 9))])
    with open_source(str(folder)) as source:
        assert source.warnings == ["2 pictures missing between 3.png and 6.png"]
