"""`run` and `demo`: sources of all kinds, bundles, full disks, signals."""

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
from tests.cli.program import COMMAND, ENVIRONMENT, FIVE, ROOT, Cli, assert_refused, process, summary, written

pytest.importorskip("onnxruntime")
DATA = ROOT.parent / "shared" / "data"
FILE_LIMIT = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    "runpy.run_module('stprompt_edge', run_name='__main__')"
)


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


def test_a_broken_cameras_toml(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cameras.toml").write_text('[cameras.camera0]\nsorce = "lobby.mp4"\n')
    assert_refused(cli("run", "camera0", cwd=tmp_path), 2, r"unknown key 'sorce' in \[cameras.camera0\]", ".*source")


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
