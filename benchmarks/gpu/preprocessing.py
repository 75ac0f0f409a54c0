"""Preprocessing on the device: is it the definition, how fast is it, and how fast are torch and OpenCV on equal frames?

Frames lie in device memory and take turns, so many that the GPU's cache does not hold them; `cached` repeats one, which
is what a frame is that has just been uploaded. The torch baselines average areas or filter as its users do; the faster
one counts.

Suffixes: H height, W width, S side of the image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.kernel import DeviceFrame, Frame, KernelStream, Launcher, moved_bytes, upload
from benchmarks.gpu.measuring import Device, Run, attempt, clocked, measured
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing, Preprocessor, preprocess, resize_to_square
from stprompt_edge.runtime.backends.cuda.kernels import nv12_to_bgr
from stprompt_edge.runtime.frames import Nv12Frame
from stprompt_edge.runtime.motion import pixel_motion, select_windows

FORMATS = ("bgr", "nv12")
MAX_FRAMES = 96  # of the smallest size; with the cache beaten earlier where frames are large
CACHE_TIMES = 4  # so many times the cache is what frames take together
MAX_MOTION_DIFFERENCE = 1e-5
MAX_IMAGE_DIFFERENCE = 1e-5  # of float32 normalisation
CHECKED = [(1, 1), (7, 5), (227, 225), (640, 360), (768, 432), (1920, 1080), (3840, 2160)]


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How often things are timed."""

    repeats: int
    warm_up: int


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """[H, W, 3] BGR: gradients, and noise that repeats after 67 x 61 pixels."""
    noise = np.random.default_rng(seed).integers(0, 80, (67, 61, 3), np.uint8)
    tiled = np.tile(noise, (height // 67 + 1, width // 61 + 1, 1))[:height, :width]
    x, y = np.linspace(0, 87, width).astype(np.uint8), np.linspace(0, 88, height).astype(np.uint8)
    return np.ascontiguousarray(tiled + x[None, :, None] + y[:, None, None])


def nv12_picture(
    width: int, height: int, seed: int = 0, *, full_range: bool = False, matrix: Any = "bt709"
) -> Nv12Frame:
    """Seeded noise in all three planes."""
    rng = np.random.default_rng(seed)
    return Nv12Frame(
        luma=rng.integers(0, 256, (height, width), np.uint8),
        chroma=rng.integers(0, 256, ((height + 1) // 2, (width + 1) // 2, 2), np.uint8),
        matrix=matrix,
        full_range=full_range,
    )


# ---- is it the definition? -------------------------------------------------------------------------------------------


def check_kernel(
    launcher: Launcher, device: Device, sizes: Sequence[tuple[int, int]] = tuple(CHECKED)
) -> dict[str, Any]:
    """Every size in BGR and in NV12 of both ranges, against preprocess.py and motion.py."""
    levels, image, motion, windows = 0, 0.0, 0.0, True
    frames = 0
    for width, height in sizes:
        for kind in ("bgr", "limited", "full"):
            stream = KernelStream(launcher, device)
            lumas = []
            for seed in range(3):
                frame = _frame(kind, width, height, seed)
                held = upload(frame, device)  # until the kernel has read it
                stream.launch([stream.prepare(held)])
                device.synchronize()
                newest = stream.newest()
                bgr = nv12_to_bgr(frame) if isinstance(frame, Nv12Frame) else frame
                levels = max(levels, int(np.abs(newest.astype(int) - resize_to_square(bgr, 224)).max()))
                expected = preprocess(np.ascontiguousarray(newest), Preprocessing())
                lumas.append(expected.luma)
                image = max(image, float(np.abs(stream.image[0].float().cpu().numpy() - expected.image).max()))
                frames += 1
            found = stream.read()
            expected_motion = pixel_motion(lumas[2] - 2 * lumas[1] + lumas[0], Geometry())
            motion = max(motion, float(np.abs(found["motion"] - expected_motion).max()))
            windows &= bool((found["fine"] == select_windows(found["motion"].copy(), 12).indices).all())
    equal = levels <= 1 and image <= MAX_IMAGE_DIFFERENCE and motion <= MAX_MOTION_DIFFERENCE and windows
    return {
        "frames": frames,
        "sizes": [f"{width}x{height}" for width, height in sizes],
        "max_level_difference": levels,
        "max_image_difference": image,
        "max_motion_difference": motion,
        "selection_equal": windows,
        "equal": equal,
    }


def _frame(kind: str, width: int, height: int, seed: int) -> Frame:
    return (
        picture(width, height, seed) if kind == "bgr" else nv12_picture(width, height, seed, full_range=kind == "full")
    )


# ---- how fast is it? -------------------------------------------------------------------------------------------------


def time_preprocessing(
    launcher: Launcher, device: Device, sizes: Sequence[tuple[int, int]], how: Repeats, copy_gb_s: float
) -> dict[str, Any]:
    """Each size in each format; keys as `1920x1080 bgr`."""
    return {
        f"{width}x{height} {kind}": attempt(
            functools.partial(_time_one, launcher, device, width, height, kind, how, copy_gb_s)
        )
        for width, height in sizes
        for kind in FORMATS
    }


def _time_one(
    launcher: Launcher, device: Device, width: int, height: int, kind: str, how: Repeats, copy_gb_s: float
) -> dict[str, Any]:
    first = picture(width, height) if kind == "bgr" else nv12_picture(width, height)
    frames = turns(upload(first, device), device)
    stream = KernelStream(launcher, device)
    launches = [stream.prepare(frame) for frame in frames]
    nbytes = moved_bytes(frames[0].layout, "float32")
    kernel = _both_ways(device, lambda: stream.launch(launches), how, len(launches))
    cached = _both_ways(device, lambda: stream.launch(launches[:1] * len(launches)), how, len(launches))
    best = best_us(kernel)
    gb_s = nbytes / best / 1e3
    result = {
        "kernel": {
            "name": launches[0].kernel, **kernel, "moved_bytes": nbytes, "best_us": best,
            "gb_s": round(gb_s, 1), "of_copy_ceiling": round(gb_s / copy_gb_s, 4),
        },
        "kernel_cached": cached,
        "copy_of_the_same_bytes": attempt(lambda: _both_ways(device, _copies(frames, device), how, len(frames))),
        "torch": {
            name: attempt(lambda run=run: _both_ways(device, _over(frames, run), how, len(frames)))  # type: ignore[misc]
            for name, run in torch_baselines(device).items()
        },
        "opencv": _opencv(first, how),
        "frames_in_turn": len(frames),
    }  # fmt: skip
    ways = [best_us(way) for way in result["torch"].values() if measured(way)]
    if ways:
        result["times_faster_than_torch"] = round(min(ways) / best, 2)
    result["times_faster_than_opencv"] = round(result["opencv"]["p50_us"] / best, 2)
    return result


def turns(frame: DeviceFrame, device: Device) -> list[DeviceFrame]:
    """Copies of a frame, so many that they do not fit into the cache."""
    wanted = CACHE_TIMES * device.l2_bytes // frame.layout.nbytes + 1
    return [
        DeviceFrame(layout=frame.layout, memory=frame.memory.clone()) for _ in range(max(2, min(wanted, MAX_FRAMES)))
    ]


def _both_ways(device: Device, run: Run, how: Repeats, calls: int) -> dict[str, Any]:
    """Launch by launch, and as one CUDA graph."""

    def timed(one: Run) -> dict[str, Any]:
        return asdict(device.time(one, repeats=how.repeats, warm_up=how.warm_up, calls=calls))

    return {"plain": timed(run), "graph": attempt(lambda: timed(device.graph(run)))}


def best_us(ways: dict[str, Any]) -> float:
    """The lower median of plain launches and CUDA graph."""
    return min(ways[way]["p50_us"] for way in ("plain", "graph") if measured(ways[way]))


def _over(frames: list[DeviceFrame], run: Callable[[DeviceFrame], object]) -> Run:
    def over() -> None:
        for frame in frames:
            run(frame)

    return over


def _copies(frames: list[DeviceFrame], device: Device) -> Run:
    target = torch.empty_like(frames[0].memory)
    return _over(frames, lambda frame: target.copy_(frame.memory))


def _opencv(frame: Frame, how: Repeats) -> dict[str, Any]:
    """The CPU's own path: the definition, of decoded planes with OpenCV's converter before it."""
    definition = Preprocessor(Preprocessing())
    if not isinstance(frame, Nv12Frame):
        return asdict(clocked(lambda: definition(frame), repeats=how.repeats, warm_up=how.warm_up))
    planes = np.concatenate([frame.luma, frame.chroma.reshape(frame.chroma.shape[0], -1)])
    run = lambda: definition(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12))  # type: ignore[arg-type] # noqa: E731
    return asdict(clocked(run, repeats=how.repeats, warm_up=how.warm_up))


# ---- torch -----------------------------------------------------------------------------------------------------------


def torch_baselines(device: Device) -> dict[str, Callable[[DeviceFrame], Tensor]]:
    """Resize and normalise as one writes it in torch, by name."""
    spec = Preprocessing()
    std = torch.tensor(spec.std_rgb, device=device.torch)
    scale = (1 / (255 * std))[:, None, None]
    offset = (-torch.tensor(spec.mean_rgb, device=device.torch) / std)[:, None, None]

    def normalised(resized_bgr: Tensor) -> Tensor:
        return resized_bgr.flip(1) * scale + offset  # [1, 3, S, S] RGB

    def area(frame: DeviceFrame) -> Tensor:
        return normalised(F.interpolate(bgr_of(frame), size=(spec.size, spec.size), mode="area"))

    def antialias(frame: DeviceFrame) -> Tensor:
        size = (spec.size, spec.size)
        return normalised(F.interpolate(bgr_of(frame), size=size, mode="bilinear", antialias=True))

    return {"area": area, "bilinear, antialias": antialias}


def bgr_of(frame: DeviceFrame) -> Tensor:
    """A frame on the device as [1, 3, H, W] float32 BGR, 0..255."""
    layout = frame.layout
    rows = frame.memory[: layout.chroma_offset].view(layout.height, layout.pitch)
    if layout.colour is None:
        return rows[:, : 3 * layout.width].view(layout.height, layout.width, 3).permute(2, 0, 1)[None].float()
    rule, half = layout.colour, ((layout.height + 1) // 2, (layout.width + 1) // 2)
    pairs = frame.memory[layout.chroma_offset :].view(half[0], layout.pitch)[:, : 2 * half[1]].reshape(*half, 2)
    doubled = pairs.repeat_interleave(2, 0).repeat_interleave(2, 1)[: layout.height, : layout.width].float() - 128
    u, v = doubled[..., 0], doubled[..., 1]
    luma = (rows[:, : layout.width].float() - rule.luma_offset) * (rule.luma_gain / 65536)
    planes = [luma + rule.blue_u / 65536 * u, luma + (rule.green_u * u + rule.green_v * v) / 65536]
    planes.append(luma + rule.red_v / 65536 * v)
    return torch.stack(planes)[None].clamp(0, 255)
