"""What the device can do at best, measured in the same run: copy bandwidth, fp16 products, and a launch that does
nothing. What is timed elsewhere is held against these."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from benchmarks.gpu.encoder import WATCH, VitSize, token_rows
from benchmarks.gpu.measuring import Device, attempt
from benchmarks.gpu.preprocessing import Repeats, best_us

LAUNCHES = 64  # of the one that does nothing


def measure_ceilings(
    device: Device, how: Repeats, *, copy_bytes: int, product_side: int, size: VitSize, batch: int
) -> dict[str, Any]:
    """Bandwidth counts what is read and what is written; products count two operations for a multiply-add."""
    return {
        "copy": attempt(lambda: copy_ceiling(device, how, copy_bytes)),
        "product": attempt(lambda: product_ceiling(device, how, product_side, product_side, product_side)),
        # the largest product of a watch step of many frames: the first of each MLP
        "mlp_product": attempt(
            lambda: product_ceiling(device, how, token_rows(WATCH, batch), size.width, size.mlp)
        ),
        "empty_launch": attempt(lambda: empty_launch(device, how)),
    }  # fmt: skip


def copy_ceiling(device: Device, how: Repeats, nbytes: int) -> dict[str, Any]:
    """A device-to-device copy of `nbytes`."""
    source = torch.zeros(nbytes, dtype=torch.uint8, device=device.torch)
    target = torch.empty_like(source)
    timing = device.time(lambda: target.copy_(source), repeats=how.repeats, warm_up=how.warm_up)
    return {"bytes": nbytes, **asdict(timing), "gb_s": round(2 * nbytes / timing.p50_us / 1e3, 4)}


def product_ceiling(device: Device, how: Repeats, rows: int, inner: int, columns: int) -> dict[str, Any]:
    """torch's fp16 product [rows, inner] x [inner, columns] of random numbers (zeros would be faster: less power)."""
    generator = torch.Generator(device=device.torch).manual_seed(0)

    def random(a: int, b: int) -> torch.Tensor:
        return torch.randn(a, b, generator=generator, device=device.torch, dtype=torch.float32).half()

    left, right = random(rows, inner), random(inner, columns)
    timing = device.time(lambda: left @ right, repeats=how.repeats, warm_up=how.warm_up)
    tflops = 2 * rows * inner * columns / timing.p50_us / 1e6
    return {"shape": [rows, inner, columns], **asdict(timing), "tflops": round(tflops, 4)}


def empty_launch(device: Device, how: Repeats) -> dict[str, Any]:
    """One small kernel behind the other: no kernel takes less."""
    one = torch.zeros(1, device=device.torch)

    def run() -> None:
        for _ in range(LAUNCHES):
            one.add_(1)

    ways: dict[str, Any] = {
        "plain": asdict(device.time(run, repeats=how.repeats, warm_up=how.warm_up, calls=LAUNCHES)),
        "graph": attempt(
            lambda: asdict(device.time(device.graph(run), repeats=how.repeats, warm_up=how.warm_up, calls=LAUNCHES))
        ),
    }
    return {**ways, "best_us": best_us(ways)}
