"""The command line as people meet it: what it prints, leaves and returns.

Commands run in this process, which has loaded what they need; those that are about a process have one of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from tests import videos
from tests.commands import typed

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
FOUR = {"scores.csv", "events.json", "report.html", "summary.json"}
FIVE = FOUR | {"annotated.mp4"}
COMMAND = [sys.executable, "-m", "stprompt_edge"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
FILE_LIMIT = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    "runpy.run_module('stprompt_edge', run_name='__main__')"
)


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `stprompt-edge ARGUMENTS` in this process, in a folder."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        code = typed(*arguments)
        stdout, stderr = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    return run


def process(*arguments: str, cwd: Path, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run(
        [*(command or COMMAND), *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: int, what: str, fix: str = "") -> None:
    """One line of what, one of the remedy, the exit code, and nothing else."""
    # a line of progress stands before, "[0:02] ...", where the machine was slow
    told = ("ONNX Runtime ", "[")
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(told)]
    assert "Traceback" not in done.stderr
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert re.search(what, lines[0]), done.stderr
    assert re.match(rf"  fix: .*{fix}", lines[1]), done.stderr
    assert done.returncode == code
    assert done.stdout == ""


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


# usage


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["run"], "(?i)missing argument .*source", "run --help"),
        (["frobnicate"], "No such command 'frobnicate'", "--help"),
        (["--bogus"], "No such option", "--help"),
        (["run", "x.mp4", "--threshhold", "1"], "No such option.*--threshold", "run --help"),
        (["run", "x.mp4", "--max-frames", "0"], "--max-frames", "run --help"),
        (["run", "x.mp4", "--stride", "half"], "--stride", "run --help"),
        (["run", "x.mp4", "--localize", "alway"], "unknown --localize 'alway'", "did you mean 'always'"),
        (["run", str(DEMO_CLIP), "--backend", "onx"], "unknown backend 'onx'", "did you mean 'onnx'"),
        (["run", str(DEMO_CLIP), "--threshold", "1.5"], "thresholds must be .*got on 1.5", "between 0 and 1"),
        (["run", str(DEMO_CLIP), "--threshold", "nan"], "thresholds must be", "between 0 and 1"),
        (["run", str(DEMO_CLIP), "--out", "a_file"], "output folder a_file is a file", "name a folder"),
        (["run", str(DEMO_CLIP), "--out", "a_file/out"], "a_file", ""),
        (["run", str(DEMO_CLIP), "--bundle", "nowhere"], "no bundle at nowhere: it is missing", "export"),
        (["run", str(DEMO_CLIP), "--bundle", "a_file"], "no bundle at a_file: it is not a folder", "export"),
        (["bench", "--frames", "2"], "--frames", "bench --help"),
        (["bench", "--against", "litteral"], "unknown --against 'litteral'", "did you mean 'literal'"),
        (["bench", "--backend", "gpu"], "unknown backend 'gpu'", "known: auto, onnx"),
        (["build-engine", "nowhere"], "no bundle at nowhere", "export"),
        (["build-engine", str(DEMO_BUNDLE), "--batch", "8,1"], "--batch is '8,1'", "--batch 1,4,8"),
        (["build-engine", str(DEMO_BUNDLE)], "holds no encoder", "--precision fp32,fp16"),
    ],
)
def test_usage_errors(cli: Cli, tmp_path: Path, arguments: list[str], what: str, fix: str) -> None:
    (tmp_path / "a_file").write_text("mine")
    assert_refused(cli(*arguments, cwd=tmp_path), 2, what, fix)
    assert written(tmp_path) == {"a_file"}
    assert (tmp_path / "a_file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["--vocabulary", "ucf-crim"], "ucf-crim", "did you mean 'ucf-crime'"),
        (["--precision", "fp32,int4"], "unknown precision 'int4'", "known: cpu8, fp16, fp32"),
        (["--precision", ","], "no precision given", "--precision"),
        (["--out", "a_file"], "a_file exists and is not a bundle", "--out"),
        (["nowhere.safetensors"], "nowhere.safetensors", ""),
        (["--clip", "ViT-B-17"], "unknown CLIP model 'ViT-B-17'", "ViT-B-16"),
    ],
)
def test_export_usage_errors(cli: Cli, tmp_path: Path, arguments: list[str], what: str, fix: str) -> None:
    pytest.importorskip("open_clip")
    (tmp_path / "a_file").write_text("mine")
    assert_refused(cli("export", "--pretrained", "none", *arguments, cwd=tmp_path), 2, what, fix)
    assert written(tmp_path) == {"a_file"}


@pytest.mark.parametrize(
    ("arguments", "code", "what", "fix"),
    [
        (["int8", str(DEMO_BUNDLE)], 2, "no footage given", "--footage"),
        (["int8", str(DEMO_BUNDLE), "--footage", "a.mp4", "--method", "minmx"], 2, "unknown method 'minmx'", "minmax"),
        (["int8", str(DEMO_BUNDLE), "--footage", "a.mp4", "--frames", "3"], 2, "--frames is 3", ""),
        (["int8", str(DEMO_BUNDLE), "--footage", "a.mp4"], 2, "holds no encoder.onnx", "export again"),
        (["int8", "nowhere", "--footage", "a.mp4"], 2, "no bundle at nowhere", "export"),
        (["int9"], 2, "int9", "calibrate --help"),
    ],
)
def test_calibrate_usage_errors(cli: Cli, tmp_path: Path, arguments: list[str], code: int, what: str, fix: str) -> None:
    pytest.importorskip("onnx")
    assert_refused(cli("calibrate", *arguments, cwd=tmp_path), code, what, fix)
    assert written(tmp_path) == set()


def test_calibrate_int8_takes_footage_one_after_the_other(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.calibration.graphs import encoder, make_bundle

    make_bundle(tmp_path / "b", encoder())
    for name in ("a.mp4", "b.mp4"):
        videos.write_video(tmp_path / name, frames=30, noise=60)
    arguments = ["--footage", "a.mp4", "b.mp4", "--frames", "12", "--out", "out", "--force"]
    done = cli("calibrate", "int8", "b", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "build-engine b --precision int8" in done.stderr
    assert json.loads((tmp_path / "out" / "int8.json").read_text())["footage"] == ["a.mp4", "b.mp4"]
    assert "encoder.int8.onnx" in written(tmp_path / "b")
    assert_refused(cli("calibrate", "int8", "b", "--footage", "c.mp4", cwd=tmp_path), 4, "no such file: c.mp4")


def test_a_misspelt_vocabulary_is_found_before_clip_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    code = (
        "import sys; from stprompt_edge import cli; import stprompt_edge.export.exporting as e; "
        "e.load_clip = lambda *a: sys.exit('CLIP was loaded'); sys.argv[1:] = "
        "['export', '--vocabulary', 'ucf-crim', '--pretrained', 'none']; cli.main()"
    )
    done = process(cwd=tmp_path, command=[sys.executable, "-c", code])
    assert_refused(done, 2, "ucf-crim", "did you mean 'ucf-crime'")


@pytest.mark.parametrize("arguments", [["--help"], [], ["run", "--help"], ["--version"], ["doctor", "--help"]])
def test_help_and_version(tmp_path: Path, arguments: list[str]) -> None:
    done = process(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stprompt" in done.stdout or "Usage" in done.stdout


# sources that cannot be opened


@pytest.mark.parametrize(
    ("name", "write", "what"),
    [
        ("missing.mp4", lambda path: None, "no such file or camera: 'missing.mp4'"),
        ("text.mp4", videos.write_text_as_video, "text.mp4 is not a video"),
        ("empty.mp4", videos.write_empty, r"empty.mp4 is empty \(0 bytes\)"),
        ("cut.mp4", lambda path: videos.write_truncated(path, index_in_front=False), "index is missing"),
        ("sound.mp4", videos.write_audio_only, "has no video stream, only audio"),
        ("codec.mp4", videos.write_unknown_codec, "unknown codec"),
        ("images", Path.mkdir, "no images"),
        ("rtps://camera", lambda path: None, "unknown protocol"),
        ("/dev/video99", lambda path: None, "no camera at /dev/video99"),
        ("camera99", lambda path: None, "no camera at /dev/video99"),
    ],
)
def test_sources_that_cannot_be_opened(
    cli: Cli, tmp_path: Path, name: str, write: Callable[[Path], object], what: str
) -> None:
    if "/" not in name:
        write(tmp_path / name)
    done = cli("run", name, "--out", "out", cwd=tmp_path)
    assert_refused(done, 4, what)
    assert not (tmp_path / "out").exists()


def test_a_misspelt_file_names_the_nearest(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "lobby.mp4").touch()
    assert_refused(cli("run", "loby.mp4", cwd=tmp_path), 4, "loby.mp4", "did you mean 'lobby.mp4'")


# sources that are odd, and work


@pytest.mark.parametrize(
    ("name", "write", "frames"),
    [
        ("one.mp4", lambda path: videos.write_video(path, frames=1), 1),
        ("tiny.mkv", lambda path: videos.write_video(path, frames=3, size_wh=(1, 1), codec="ffv1",
                                                     pixel_format="bgr0"), 3),
        ("odd.webm", videos.write_odd_size, 3),
        ("rotated.mp4", lambda path: videos.write_rotated(path, 90), 3),
        ("variable.mp4", videos.write_variable_rate, 5),
        ("big.mkv", lambda path: videos.write_8k(path, frames=2), 2),
        ("moving.gif", videos.write_gif, 5),
    ],
)  # fmt: skip
def test_odd_videos_work(cli: Cli, tmp_path: Path, name: str, write: Callable[[Path], object], frames: int) -> None:
    write(tmp_path / name)
    done = cli("run", name, "--out", "out", "--json", "--localize", "always", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "out") == FIVE
    told = json.loads(done.stdout)  # nothing but the summary is on stdout
    assert told == summary(tmp_path / "out")
    assert told["camera_frames"] == frames
    assert not [warning for warning in told["warnings"] if "frames" in warning]  # no loss


def test_a_truncated_file_with_an_index_is_watched_and_the_loss_told(cli: Cli, tmp_path: Path) -> None:
    videos.write_truncated(tmp_path / "cut.mp4", index_in_front=True)
    done = cli("run", "cut.mp4", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"warning: file is truncated: 1\d frames decoded, up to 1\.\d s of 4\.0 s", done.stderr)
    assert written(tmp_path / "out") == FIVE


def test_a_camera_of_cameras_toml(cli: Cli, tmp_path: Path) -> None:
    videos.write_video(tmp_path / "lobby.mp4")
    (tmp_path / "cameras.toml").write_text('[cameras.camera0]\nsource = "lobby.mp4"\nstride = 5\nthreshold = 0.25\n')
    done = cli("run", "camera0", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert (told["stride"], told["threshold_on"], told["sampled_frames"]) == (5, 0.25, 4)
    assert written(tmp_path / "stprompt-edge-out") == FIVE


def test_a_vocabulary_is_shown_saved_edited_and_checked(cli: Cli, tmp_path: Path) -> None:
    listed = cli("vocabulary", "show", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert {"scenes", "ucf-crime"} <= set(listed.stdout.split())
    shown = cli("vocabulary", "show", "scenes", cwd=tmp_path)
    edited = shown.stdout.replace('"scenes"', '"yard"').replace('name = "running"', 'name = "running"\nlabel = "Run"')
    (tmp_path / "my.toml").write_text(edited, encoding="utf-8")
    checked = cli("vocabulary", "check", "my.toml", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "ok: my.toml: vocabulary 'yard', 8 classes, 20 phrases, 13 normal phrases\n"
    again = cli("vocabulary", "show", "my.toml", cwd=tmp_path)
    assert again.stdout == edited
    (tmp_path / "my.toml").write_text(edited.replace("label =", "lable ="), encoding="utf-8")
    line = 1 + edited[: edited.index('label = "Run"')].count("\n")
    bad = cli("vocabulary", "check", "my.toml", cwd=tmp_path)
    assert_refused(bad, 2, rf"my.toml, line {line}: classes\[7\]: unknown key 'lable'", "did you mean 'label'")
    assert_refused(cli("vocabulary", "check", "no.toml", cwd=tmp_path), 2, "no.toml does not exist", "check the path")
    assert_refused(cli("vocabulary", "show", "scene", cwd=tmp_path), 2, "'scene'", "did you mean 'scenes'")


def test_the_packaged_bundle_says_what_it_knows_before_any_result(cli: Cli, tmp_path: Path) -> None:
    videos.write_video(tmp_path / "street.mp4", fps=25, frames=50)
    done = cli("run", "street.mp4", "--out", "out", cwd=tmp_path)
    caution = "the CLIP was trained on rendered scenes only: on footage of real cameras its scores mean little"
    lines = done.stderr.splitlines()
    assert [line for line in lines if "rendered scenes" in line] == [f"warning: {caution}"]
    assert lines.index(f"warning: {caution}") < next(i for i, line in enumerate(lines) if "camera frames" in line)
    told = summary(tmp_path / "out")
    assert (told["warnings"], told["stride"]) == ([caution], 8)  # nothing about a stride that nobody set
    assert "50 camera frames, 7 sampled (1 of 8)" in done.stderr
    warned = cli("run", "street.mp4", "--out", "out", "--stride", "2", cwd=tmp_path)
    assert "stride 8 is closest" in warned.stderr


def test_a_broken_cameras_toml(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cameras.toml").write_text('[cameras.camera0]\nsorce = "lobby.mp4"\n')
    assert_refused(cli("run", "camera0", cwd=tmp_path), 2, r"unknown key 'sorce' in \[cameras.camera0\]", ".*source")


# bundles


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    change(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def flip_byte(bundle: Path) -> None:
    data = bytearray((bundle / "heads.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "heads.onnx").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "what", "fix"),
    [
        (lambda b: (b / "heads.onnx").unlink(), "heads.onnx is missing", "export it again"),
        (flip_byte, "heads.onnx was changed", "export it again"),
        (lambda b: change_manifest(b, lambda m: m.update(schema_version=2)), "has schema 2", "upgrade"),
        (
            lambda b: change_manifest(b, lambda m: m["files"].update({"../x": m["files"]["heads.onnx"]})),
            r"lists '\.\./x', which is not a path inside the bundle",
            "export it again",
        ),
        (lambda b: (b / "bundle.json").write_text("{"), "bundle.json is not JSON", "export it again"),
    ],
)
def test_damaged_bundles_are_refused(
    cli: Cli, tmp_path: Path, damage: Callable[[Path], object], what: str, fix: str
) -> None:
    bundle = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    damage(bundle)
    done = cli("run", str(DEMO_CLIP), "--bundle", "bundle", "--out", "out", cwd=tmp_path)
    assert_refused(done, 3, what, fix)
    assert written(tmp_path) == {"bundle"}


# whole commands


def test_demo(tmp_path: Path) -> None:
    done = process("demo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "stprompt-edge-out" / "demo"
    assert written(out) == FIVE
    told = json.loads(done.stdout)
    assert told["events"] >= 1
    events = json.loads((out / "events.json").read_text())["events"]
    assert any(frame["boxes"] for event in events for frame in event["frames"])
    assert "Traceback" not in done.stderr


def test_bench_writes_its_figures(cli: Cli, tmp_path: Path) -> None:
    done = cli("bench", "--frames", "6", "--json", "bench.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["frames"] == 6
    assert "sampled frames/s" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = process("run", "missing.mp4", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "SourceError: no such file or camera" in done.stderr
    assert done.returncode == 1


# a disk that is full


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FILE_LIMIT]
    arguments = ("run", str(DEMO_CLIP), "--max-frames", "24", "--out", "out")
    done = process(*arguments, cwd=tmp_path, command=command)
    assert_refused(done, 5, "disk full while writing .*out", "free some space")
    assert not written(tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing(cli: Cli, tmp_path: Path, small_disk: Path) -> None:
    done = cli("run", str(DEMO_CLIP), "--max-frames", "24", "--out", str(small_disk / "out"), cwd=tmp_path)
    assert_refused(done, 5, "disk full while writing .*out", "free some space")
    assert not written(small_disk / "out")


# being told to stop


def wait_for_rows(process: subprocess.Popen[str], path: Path, rows: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") <= rows:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_finishes_the_outputs(tmp_path: Path, number: int, code: int) -> None:
    arguments = ["run", str(DEMO_CLIP), "--out", "out", "--stride", "1", "--localize", "always", "--json"]
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_rows(process, tmp_path / "out" / "scores.csv.partial", 3)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    assert written(tmp_path / "out") == FIVE
    told = json.loads(stdout)
    assert told["interrupted"] is True
    assert 3 <= told["sampled_frames"] < 650


# real footage


def gif_of(source: Path, path: Path) -> Path:
    """Its first twelve frames at a quarter of the size."""
    import av

    with av.open(str(source)) as opened, av.open(str(path), "w") as target:
        stream = target.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "rgb8"
        for index, frame in enumerate(opened.decode(video=0)):
            if index == 12:
                break
            small = frame.reformat(width=160, height=120, format="rgb8")
            small.pts, small.time_base = index, Fraction(1, 10)
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("clip", "max_frames"),
    [
        ("videos/one-by-one-person-detection.mp4", 300),
        ("ucf_crime/RoadAccidents010_x264.mp4", 100),
        ("ped2/test/*", 100),
        ("gif", 100),
    ],
)
def test_real_footage(cli: Cli, tmp_path: Path, clip: str, max_frames: int) -> None:
    pattern = "videos/one-by-one-person-detection.mp4" if clip == "gif" else clip
    found = sorted(DATA.glob(pattern))
    if not found:
        pytest.skip(f"needs the footage {pattern}, which is not part of the project")
    source = gif_of(found[0], tmp_path / "clip.gif") if clip == "gif" else found[0]
    done = cli("run", str(source), "--max-frames", str(max_frames), "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "out") == FIVE
    told = json.loads(done.stdout)
    assert told["camera_frames"] == (12 if clip == "gif" else max_frames)
    assert told["undecodable_packets"] == 0
