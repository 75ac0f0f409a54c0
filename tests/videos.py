"""Videos for tests: ordinary, odd and damaged ones, synthesised with PyAV (no download, no randomness)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FASTSTART = {"movflags": "faststart"}  # the mp4 index (moov) in front of the pictures


def picture(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """One recognisable frame: [height, width, 3] BGR uint8, top half blue, bottom half red, green by index."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: (height + 1) // 2, :, 0] = 255
    image[(height + 1) // 2 :, :, 2] = 255
    image[:, :, 1] = (index * 8) % 256
    return image


def write_video(
    path: Path,
    *,
    frames: int = 20,
    size_wh: tuple[int, int] = (64, 48),
    fps: int = 10,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    pts: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    noise: int = 0,
) -> Path:
    """Writes `frames` pictures; `pts` (in frame durations) overrides the even spacing; `noise` (0..255) adds bytes."""
    width, height = size_wh
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=codec_options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for index in range(frames):
            image = picture(index, width, height)
            if noise:
                image ^= rng.integers(0, noise + 1, image.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_variable_rate(path: Path) -> Path:
    """Five frames at 0.0, 0.1, 0.5, 0.6 and 2.0 seconds."""
    return write_video(path, frames=5, fps=10, pts=[0, 1, 5, 6, 20])


def write_odd_size(path: Path, size_wh: tuple[int, int] = (641, 359), frames: int = 3) -> Path:
    """Odd width and height with subsampled chroma; give a `.webm` or `.mkv` path."""
    return write_video(path, frames=frames, size_wh=size_wh, codec="libvpx-vp9", codec_options={"cpu-used": "8"})


def write_8k(path: Path, frames: int = 1) -> Path:
    """7680 x 4320 as MJPEG; give an `.mkv` or `.mp4` path."""
    return write_video(path, frames=frames, size_wh=(7680, 4320), codec="mjpeg", pixel_format="yuvj420p")


def write_gif(path: Path, frames: int = 5) -> Path:
    return write_video(path, frames=frames, codec="gif", pixel_format="rgb8")


def write_audio_only(path: Path) -> Path:
    """Half a second of silence and no video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        silence.pts = 0
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path


def write_rotated(path: Path, clockwise_degrees: int, size_wh: tuple[int, int] = (64, 48), frames: int = 3) -> Path:
    """An mp4 whose tkhd matrix asks the player to turn the coded picture clockwise, as phones write it."""
    write_video(path, frames=frames, size_wh=size_wh)
    a, b = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise_degrees]
    matrix = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    position = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:position] + matrix + data[position + len(matrix) :])
    return path


def write_text_as_video(path: Path) -> Path:
    path.write_text("this is not a video\n" * 50)
    return path


def write_empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def write_truncated(path: Path, *, index_in_front: bool, keep: float = 0.5, frames: int = 40) -> Path:
    """A recording cut off after `keep` (0..1) of its bytes; in an mp4 the index is in front (readable) or was lost."""
    write_video(path, frames=frames, container_options=FASTSTART if index_in_front else {}, noise=60)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def write_corrupted(
    path: Path, *, frames: int = 40, codec: str = "libx264", span: tuple[float, float] = (0.4, 0.5)
) -> Path:
    """Overwrites the bytes between two fractions of the file with a fixed pattern; the mp4 index stays intact."""
    write_video(path, frames=frames, codec=codec, noise=60, codec_options={"g": "5"})
    data = bytearray(path.read_bytes())
    start, stop = (int(len(data) * fraction) for fraction in span)
    data[start:stop] = bytes((7 * i) % 251 for i in range(stop - start))
    path.write_bytes(bytes(data))
    return path


def write_unknown_codec(path: Path) -> Path:
    """An mp4 whose codec tag nobody knows: PyAV gives its stream no codec context."""
    write_video(path, frames=2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def write_trimmed(path: Path, frames: int = 30, skip: int = 15) -> Path:
    """An mp4 whose edit list hides its first `skip` frames, as cutting without re-encoding leaves it."""
    whole = write_video(path.with_name("whole.mp4"), frames=frames)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        origin = source.streams.video[0]
        stream = target.add_stream_from_template(origin, opaque=True)  # copies the codec header in every PyAV
        for packet in source.demux(origin):
            if packet.dts is not None:
                shift = round(skip / 10 / packet.time_base)
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = stream
                target.mux(packet)
    return path
