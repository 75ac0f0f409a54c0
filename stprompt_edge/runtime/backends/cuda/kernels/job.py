"""What the kernel is told: `struct Job` of `preprocess.cu` as a NumPy record, and how a frame lies in its buffer.

Used by the launch through PyCUDA and by the tests that run the same source on the host. No CUDA here.

Suffixes: S side of the image, K selected windows, N all fine windows, T tiles.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import UsageError
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import LUMA_BGR, Preprocessing
from stprompt_edge.runtime.frames import ColourRule, Nv12Frame

ImageType = Literal["float16", "float32"]

THREADS = 256  # of a block, as in preprocess.cu
GROUP = 4  # source pixels that one thread of the fast kernel loads at once: twelve bytes, three words
FAST_TILE_PIXELS = 1024  # pixels of a tile that the fast kernel holds in shared memory
MAX_SIDE = 65535  # of a frame: sums of a column stay under 2^24, of a frame under 2^64
WORD = 4  # rows that begin on a word are read by words

POINTERS = ("source", "chroma", "ring", "image", "tile_sums", "motion", "fine", "fine_motion", "state")
_SIZES = ("width", "height", "pitch", "chroma_pitch")
_WINDOWS = ("size", "tile", "window_size", "window_stride", "windows_per_side", "selected")
_SWITCHES = ("causal", "half_image")
_COLOUR = tuple(ColourRule.__dataclass_fields__)
JOB = np.dtype(
    [(name, np.uint64) for name in POINTERS]
    + [(name, np.int32) for name in (*_SIZES, *_WINDOWS, *_SWITCHES, *_COLOUR)]
    + [("inverse_area", np.float32), ("motion_scale", np.float32), ("scale", np.float32, 3), ("offset", np.float32, 3)],
    align=True,
)


@dataclass(frozen=True, kw_only=True)
class FrameLayout:
    """Size and format of a frame, and where its rows begin in the buffer; equal layouts may share buffers."""

    width: int
    height: int
    pitch: int  # bytes from row to row, of both planes
    colour: ColourRule | None = None  # of NV12; None for BGR

    @property
    def chroma_offset(self) -> int:
        """Bytes from the first row to the first row of chroma."""
        return self.height * self.pitch

    @property
    def nbytes(self) -> int:
        """Bytes of the whole buffer."""
        return self.chroma_offset + ((self.height + 1) // 2 * self.pitch if self.colour else 0)


def layout_of(frame: NDArray[np.uint8] | Nv12Frame, *, pitch: int | None = None) -> FrameLayout:
    """How a frame will lie in a buffer.

    Args:
        frame: [H, W, 3] uint8 BGR, or NV12.
        pitch: bytes from row to row; None for the next multiple of a word.

    Raises:
        ValueError: not such a frame, or a side is not in 1..65535.
    """
    nv12 = isinstance(frame, Nv12Frame)
    shape = frame.luma.shape if isinstance(frame, Nv12Frame) else frame.shape
    if not isinstance(frame, Nv12Frame) and (frame.ndim != 3 or shape[2] != 3 or frame.dtype != np.uint8):
        raise ValueError(f"a frame must be [H, W, 3] uint8 BGR or NV12, got {shape} {frame.dtype}")
    height, width = shape[:2]
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ValueError(f"a frame's sides must be 1..{MAX_SIDE}, got {width}x{height}")
    row = (width + 1) // 2 * 2 if nv12 else 3 * width
    colour = frame.colour if isinstance(frame, Nv12Frame) else None
    return FrameLayout(width=width, height=height, pitch=pitch or math.ceil(row / WORD) * WORD, colour=colour)


def pack_frame(frame: NDArray[np.uint8] | Nv12Frame, layout: FrameLayout, buffer: NDArray[np.uint8]) -> None:
    """Copy a frame into `buffer`, [layout.nbytes] uint8; bytes between rows stay as they were."""
    rows = buffer[: layout.chroma_offset].reshape(layout.height, layout.pitch)
    if not isinstance(frame, Nv12Frame):
        rows[:, : 3 * layout.width].reshape(layout.height, layout.width, 3)[:] = frame
        return
    rows[:, : layout.width] = frame.luma
    half_height, half_width = frame.chroma.shape[:2]
    chroma = buffer[layout.chroma_offset : layout.nbytes].reshape(half_height, layout.pitch)
    chroma[:, : 2 * half_width].reshape(half_height, half_width, 2)[:] = frame.chroma


def make_job(
    *, spec: Preprocessing, geometry: Geometry, windows: int, timing: str, image_type: ImageType = "float16"
) -> NDArray[Any]:
    """A record of type `JOB` for one stream of frames: all but the pointers and what `set_source` sets.

    Raises:
        UsageError: the settings ask for what the kernel cannot do.
    """
    grid, patch = geometry.fine, geometry.patch_size
    if spec.size != geometry.image_size:
        raise UsageError(
            f"the image is {spec.size} px in preprocessing and {geometry.image_size} px in the geometry",
            remedy="export the bundle again",
        )
    if not 1 <= windows <= geometry.fine_count:
        raise UsageError(
            f"{windows} windows to select, but there are {geometry.fine_count} fine windows",
            remedy="export the bundle again with fewer windows",
        )
    job = np.zeros((), JOB)
    settings = {
        "size": spec.size, "tile": patch, "window_size": grid.size, "window_stride": grid.stride,
        "windows_per_side": geometry.windows_per_side(grid), "selected": windows,
        "causal": timing == "causal", "half_image": image_type == "float16",
    }  # fmt: skip
    for name, value in settings.items():
        job[name] = value
    # The kernel's luma is an integer, 1000 x 255 x the definition's.
    job["motion_scale"] = 1 / (1000 * 255 * grid.size**2)
    std = np.asarray(spec.std_rgb, np.float64)
    job["scale"], job["offset"] = 1 / (255 * std), -np.asarray(spec.mean_rgb, np.float64) / std
    return job


def set_source(job: NDArray[Any], layout: FrameLayout, address: int) -> None:
    """Tell the job where a frame of this layout lies; `address` is the device's, of the whole buffer."""
    job["source"], job["chroma"] = address, address + layout.chroma_offset if layout.colour else 0
    job["width"], job["height"] = layout.width, layout.height
    job["pitch"] = job["chroma_pitch"] = layout.pitch
    job["inverse_area"] = 1 / (layout.width * layout.height)
    for name, value in asdict(layout.colour).items() if layout.colour else ():
        job[name] = value


def kernel_name(job: NDArray[Any]) -> str:
    """`preprocess_fast` where both sides shrink and a tile fits into its shared memory, else `preprocess_plain`."""
    size, tile, width = int(job["size"]), int(job["tile"]), int(job["width"])
    shrinks = width >= size and int(job["height"]) >= size
    groups = (math.ceil(tile * width / size) + 2 * GROUP) // GROUP  # a tile's columns may begin and end inside a group
    return "preprocess_fast" if shrinks and groups <= THREADS and tile**2 <= FAST_TILE_PIXELS else "preprocess_plain"


def launch_grid(job: NDArray[Any]) -> tuple[int, int]:
    """Blocks along x and y: one for each tile."""
    side = int(job["size"]) // int(job["tile"])
    return side, side


def result_type(geometry: Geometry, windows: int) -> np.dtype[Any]:
    """What comes back of a frame, in one piece: the device's `fine`, `fine_motion` and `motion` in this order."""
    return np.dtype(
        [("fine", np.int64, windows), ("fine_motion", np.float32, windows), ("motion", np.float32, geometry.fine_count)]
    )


def buffer_sizes(geometry: Geometry, windows: int, image_type: ImageType) -> dict[str, int]:
    """Bytes of each device buffer of one stream; `result` holds `result_type`."""
    pixels = geometry.image_size**2
    return {
        "ring": 3 * pixels * 4,
        "image": 3 * pixels * np.dtype(image_type).itemsize,
        "tile_sums": geometry.tokens_per_side**2 * 4,
        "result": result_type(geometry, windows).itemsize,
        "state": 3 * 4,
    }


def set_buffers(job: NDArray[Any], addresses: dict[str, int], geometry: Geometry, windows: int) -> None:
    """Tell the job where the buffers of `buffer_sizes` lie."""
    fields = result_type(geometry, windows).fields
    assert fields is not None
    for name in ("ring", "image", "tile_sums", "state"):
        job[name] = addresses[name]
    for name, (_, offset, *_) in fields.items():
        job[name] = addresses["result"] + offset


assert tuple(round(1000 * weight) for weight in LUMA_BGR) == (114, 587, 299)  # as written in preprocess.cu
