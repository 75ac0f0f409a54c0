"""The programs `ffmpeg` and `ffprobe`: they make the odd files of tests, and say what is in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.needs import promised

needs_ffmpeg = pytest.mark.skipif(
    not (promised() or (shutil.which("ffmpeg") and shutil.which("ffprobe"))), reason="no ffmpeg: apt install ffmpeg"
)
SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=6")  # moves everywhere, all the time


def ffmpeg(*arguments: str | Path) -> Path:
    """Runs ffmpeg quietly; the last argument is the file that it makes."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return Path(arguments[-1])


def made(path: Path, *options: str) -> Path:
    """Six seconds of moving pictures at 25 frames per second; `options` of the encoder."""
    return ffmpeg(*SOURCE, "-pix_fmt", "yuv420p", *options, path)


def grey_frames(path: Path, size_wh: tuple[int, int], *options: str) -> NDArray[np.uint8]:
    """[T, H, W] uint8: what ffmpeg decodes, turned upright."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), *options, "-fps_mode", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "gray", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size_wh[1], size_wh[0])


def bgr_frame(path: Path, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8: ffmpeg's own first picture, turned upright."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-frames:v", "1", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "bgr24", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(size_wh[1], size_wh[0], 3)


def probed_times(path: Path) -> list[float]:
    """Seconds of all frames, sorted, as a player counts: from the container's start."""
    shown = ["-show_entries", "frame=pts_time:format=start_time", "-of", "json"]
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", *shown, str(path)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    start = float(told["format"]["start_time"])
    return sorted(float(frame["pts_time"]) - start for frame in told["frames"] if "pts_time" in frame)


def probed_packets(path: Path) -> int:
    """Packets of the first video stream."""
    shown = ["-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", *shown, str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0].strip(","))
