"""Every command, told to write where it reads: it refuses before its first write, and all files stay as they were."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

import stprompt_edge
from stprompt_edge.assets import DEMO_BUNDLE
from tests import videos
from tests.commands import typed

pytest.importorskip("onnxruntime")

EXPORT = "export --clip stprompt-demo-16 --pretrained demo --vocabulary scenes"
CALIBRATE = "calibrate int8 graphs --frames 12 --force --footage"


def tree(folder: Path) -> dict[str, str]:
    """Every file, links as what they lead to."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what commands read, and links to it."""
    monkeypatch.chdir(tmp_path)
    videos.write_video(Path("annotated.mp4"), frames=40, noise=60)
    shutil.copy("annotated.mp4", "clip.mp4")
    for name in ("scores.csv.partial", "index.json", "figures.json", "layers.png", "clip.mp4.safetensors"):
        shutil.copy("clip.mp4", name)
    Path("link.mp4").symlink_to("annotated.mp4")
    Path("hard.mp4").hardlink_to("annotated.mp4")
    Path("here").symlink_to(tmp_path)
    Path("list.ffconcat").write_text("ffconcat version 1.0\nfile annotated.mp4\n")
    Path("summary.json").write_text('[cameras.gate]\nsource = "clip.mp4"\n')
    Path("images").mkdir()
    shutil.copytree(DEMO_BUNDLE, "b")
    for name in (f"data/{split}/{label}/v.mp4" for split in ("train", "test") for label in ("normal", "fighting")):
        Path(name).parent.mkdir(parents=True)
        shutil.copy("clip.mp4", name)
    Path("one.csv").write_text("video,label,split\nindex.json,normal,train\n")
    Path("two.csv").write_text("video,label,split\nclip.mp4,normal,train\nclip.mp4.safetensors,normal,train\n")
    return tmp_path


def refuses(here: Path, capsys: pytest.CaptureFixture[str], line: str) -> str:
    before = tree(here)
    code = typed(*line.split(" "))
    told = capsys.readouterr().err
    assert code == 2, told
    assert tree(here) == before
    assert told.count("error: ") == told.count("  fix: ") == 1
    return told


@pytest.mark.parametrize(
    ("line", "output", "given"),
    [
        ("run annotated.mp4 --out .", "annotated.mp4", "source annotated.mp4"),
        ("run ./images/../annotated.mp4 --out images/..", "images/../annotated.mp4", "source images/../annotated.mp4"),
        ("run link.mp4 --out .", "annotated.mp4", "source link.mp4"),
        ("run hard.mp4 --out .", "annotated.mp4", "source hard.mp4"),
        ("run annotated.mp4 --out here", "here/annotated.mp4", "source annotated.mp4"),
        ("run file:annotated.mp4 --out .", "annotated.mp4", "source annotated.mp4"),
        ("run list.ffconcat --out .", "annotated.mp4", "source annotated.mp4"),
        ("run scores.csv.partial --out .", "scores.csv.partial", "source scores.csv.partial"),
        ("run scores.csv.partial --out . --no-save-video", "scores.csv.partial", "source scores.csv.partial"),
        ("run gate --cameras summary.json --out .", "summary.json", "file summary.json"),
        ("run clip.mp4 --bundle b --out b", "output folder b", "bundle b"),
        ("bench --source clip.mp4 --json clip.mp4", "clip.mp4", "source clip.mp4"),
        ("bench --bundle b --json b/heads.onnx", "b/heads.onnx", "heads.onnx of the bundle b"),
        ("extract data --out data", "output folder data", "data set data"),
        ("extract one.csv --out .", "index.json", "video index.json"),
        ("extract two.csv --out .", "clip.mp4.safetensors", "video clip.mp4.safetensors"),
        ("extract data --bundle b --out b", "output folder b", "bundle b"),
    ],
)
def test_an_output_that_is_an_input(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, output: str, given: str
) -> None:
    pytest.importorskip("matplotlib")
    told = refuses(here, capsys, line)
    assert output in told.partition(" is ")[0]
    assert f" is {'' if ' of the ' in given else 'the '}{given}" in told
    assert ("--json" if "--json" in line else "--out") in told.partition("fix: ")[2]


def test_pictures_are_not_joined_by_results(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    for index in range(5):
        cv2.imwrite(f"images/{index}.png", videos.picture(index, 64, 48))
    assert "the output folder images is the source images" in refuses(here, capsys, "run images --out ./images/")
    assert typed("run", "images", "--out", "images/out", "--max-frames", "5") == 0
    assert typed("run", "images", "--out", ".", "--max-frames", "5", "--no-save-video") == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
@pytest.mark.parametrize("how", ["file", "pipe"])
def test_standard_input(here: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    """The file behind it is known; a pipe is none, and not a byte of it is lost."""
    videos.write_video(here / "stream.mpg", codec="mpeg1video", fps=25)
    if how == "file":
        with open("annotated.mp4", "rb") as file:
            assert "is the source" in refuses(here, capsys, f"run /dev/fd/{file.fileno()} --out .")
        return
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(Path("stream.mpg").read_bytes()), daemon=True)
    writer.start()
    assert typed("run", "pipe", "--out", ".") == 0
    writer.join(timeout=10)
    assert json.loads(Path("summary.json").read_text())["camera_frames"] == 20


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("--vocabulary old/v.toml", "vocabulary old/v.toml"),
        ("--vocabulary v.toml", "vocabulary v.toml"),  # a link into it
        ("--parity-video old/v.mp4", "parity video old/v.mp4"),
        ("--parity-video old.old/v.mp4", "parity video old.old/v.mp4"),
        ("--parity-video old.partial/v.mp4", "parity video old.partial/v.mp4"),
        ("--pretrained ./old/heads.onnx", "weights old/heads.onnx"),
    ],
)
def test_export_over_what_it_is_made_of(here: Path, capsys: pytest.CaptureFixture[str], given: str, what: str) -> None:
    pytest.importorskip("open_clip")
    shutil.copytree("b", "old")
    for folder in ("old", "old.old", "old.partial"):
        Path(folder).mkdir(exist_ok=True)
        shutil.copy("clip.mp4", f"{folder}/v.mp4")
    shutil.copy(Path(stprompt_edge.__file__).parent / "vocabularies" / "scenes.toml", "old/v.toml")
    Path("v.toml").symlink_to("old/v.toml")
    told = refuses(here, capsys, f"{EXPORT} {given} --out old")
    assert "is replaced with all that it holds" in told
    assert f"the {what} is in it" in told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("clip.mp4 --out graphs", "graphs is replaced with all that it holds, and the folder of the report graphs"),
        ("clip.mp4 --out graphs/int8", "and the folder of the report graphs/int8 is in it"),
        ("graphs/v.mp4 --out int8", "and the footage graphs/v.mp4 is in it"),
        ("layers.png --out .", "the output layers.png is the footage layers.png"),
        ("clip.mp4 --dataset data --out data", "the output folder data is the data set data"),
    ],
)
def test_calibration_over_its_footage(here: Path, capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("sklearn")
    from tests.calibration.graphs import encoder, make_bundle

    make_bundle(here / "graphs", encoder())
    shutil.copy("clip.mp4", "graphs/v.mp4")
    assert told in " ".join(refuses(here, capsys, f"{CALIBRATE} {line}").split())


def test_what_is_meant_goes_on(here: Path) -> None:
    """Beside the source, inside the data set, and the same again."""
    for _ in range(2):
        assert typed("run", "clip.mp4", "--out", "results") == 0
        assert typed("run", "results/annotated.mp4", "--out", "again") == 0
        assert typed("extract", "data", "--out", "data/features", "--stride", "8") == 0
    kept = Path("annotated.mp4").read_bytes()
    assert typed("run", "annotated.mp4", "--out", ".", "--no-save-video") in (0, 2)
    assert Path("annotated.mp4").read_bytes() == kept


@pytest.mark.parametrize(
    ("line", "work"),
    [
        ("bench --json clip.mp4/bench.json", "stprompt_edge.bench.bench_bundle"),
        ("evaluate b data --out clip.mp4/out", "stprompt_edge.evaluation.command.evaluate_path"),
        (f"{CALIBRATE} clip.mp4 --out clip.mp4/out", "stprompt_edge.calibration.int8.Int8Calibrator.run"),
    ],
)
def test_a_place_that_takes_no_file_is_told_before_the_work(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, work: str
) -> None:
    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("hours of work, whose result cannot be written")

    if "graphs" in line:
        pytest.importorskip("onnx")
        from tests.calibration.graphs import encoder, make_bundle

        make_bundle(here / "graphs", encoder())
    if line.startswith("evaluate"):
        pytest.importorskip("matplotlib")
    monkeypatch.setattr(work, never)
    assert "error: cannot write clip.mp4" in refuses(here, capsys, line)
