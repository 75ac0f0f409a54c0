"""Watch and locate steps of every engine, at several batch sizes, plainly and as a CUDA graph; and their parity.

Suffixes: B frames.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.encoder import LOCATE, WATCH, Step, VitSize, make_inputs, packed_flops
from benchmarks.gpu.encoders import BoundEncoder, Embedded
from benchmarks.gpu.measuring import Device, Run, attempt, measured
from benchmarks.gpu.preprocessing import Repeats, best_us
from benchmarks.gpu.reasons import NotMeasured
from stprompt_edge.model.encoder import PackedEncoder

STEPS = (WATCH, LOCATE)
MIN_COSINE = 0.999  # design, section 5


class Steps:
    """A table of steps, filled engine by engine: steps -> batch -> engine -> timings.

    Args:
        device: where it runs.
        size: of the encoder.
        batches: frames at once.
        how: repeats; fewer for large batches.
        ceiling_tflops: of fp16 products; 0 if it was not measured.
    """

    def __init__(
        self, device: Device, size: VitSize, batches: Sequence[int], how: Repeats, ceiling_tflops: float
    ) -> None:
        self._device, self._size, self._how, self._ceiling = device, size, how, ceiling_tflops
        self._inputs = {
            (step.name, batch): make_inputs(step, batch, device.torch) for step in STEPS for batch in batches
        }
        self.table: dict[str, Any] = {
            step.name: {
                "fine": step.fine,
                "coarse": step.coarse,
                "batches": {
                    str(batch): {"gflop": round(packed_flops(size, step, batch) / 1e9, 3), "engines": {}}
                    for batch in batches
                },
            }
            for step in STEPS
        }

    def add(self, encoder: BoundEncoder, order: Sequence[tuple[Step, int]]) -> None:
        """Time an engine at the given steps and batch sizes, in this order."""
        for step, batch in order:
            engines = self.table[step.name]["batches"][str(batch)]["engines"]
            engines[encoder.name] = attempt(functools.partial(self._time, encoder, step, batch))

    def missing(self, name: str, reason: str) -> None:
        """An engine that is not here, at every step."""
        for step in self.table.values():
            for batch in step["batches"].values():
                batch["engines"][name] = {"not_measured": reason}

    def _time(self, encoder: BoundEncoder, step: Step, batch: int) -> dict[str, Any]:
        call = encoder.bind(self._inputs[step.name, batch])

        def timed(run: Run) -> dict[str, Any]:
            return asdict(self._device.time(run, repeats=self._how.repeats, warm_up=self._how.warm_up))

        ways = {"plain": timed(call), "graph": attempt(lambda: timed(self._graph(encoder, call)))}
        best = best_us(ways)
        tflops = packed_flops(self._size, step, batch) / best / 1e6
        figures = {"note": encoder.note, **ways, "best_us": best, "frames_per_s": round(batch * 1e6 / best, 1)}
        figures["tflops"] = round(tflops, 4)
        if self._ceiling:
            figures["of_product_ceiling"] = round(tflops / self._ceiling, 4)
        return figures

    def _graph(self, encoder: BoundEncoder, call: Run) -> Run:
        if not encoder.records:
            raise NotMeasured("it records its launches itself, where it does")
        return self._device.graph(call)


def check_parity(
    reference: PackedEncoder, encoders: Sequence[BoundEncoder], device: Device, images: Tensor
) -> dict[str, Any]:
    """Embeddings of real frames and all their windows against torch in fp32 on the CPU.

    Args:
        reference: float32, on the CPU.
        encoders: to compare.
        device: where they run.
        images: [B, 3, 224, 224] float32, preprocessed, on the CPU.
    """
    inputs = make_inputs(LOCATE, len(images), torch.device("cpu"), images)
    with torch.no_grad():
        expected = Embedded(*reference(inputs.image, inputs.fine, inputs.coarse))
    there = make_inputs(LOCATE, len(images), device.torch, images)
    found = {}
    for encoder in encoders:
        found[encoder.name] = attempt(functools.partial(_compared, encoder, there, device, expected))
    return {"frames": len(images), "against": "torch fp32 on the CPU", "limit": MIN_COSINE, "engines": found}


def _compared(encoder: BoundEncoder, inputs: Any, device: Device, expected: Embedded) -> dict[str, Any]:
    call = encoder.bind(inputs)
    call()
    got = call()  # the second one reads what the first has left in order
    device.synchronize()
    cosine, difference = smallest_cosine(got, expected)
    return {"min_cosine": round(cosine, 7), "max_difference": difference, "within": cosine >= MIN_COSINE}


def smallest_cosine(got: Embedded, expected: Embedded) -> tuple[float, float]:
    """Over all embeddings: smallest cosine, and largest difference in units of the largest expected value."""
    width = expected.frame.shape[-1]
    a, b = (torch.cat([part.reshape(-1, width).double().cpu() for part in one]) for one in (got, expected))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    difference = (a - b).abs().max() / b.abs().max()
    return float(torch.nan_to_num(cosine, nan=-1.0).min()), float(difference)


def fastest(engines: dict[str, Any], prefixes: Sequence[str]) -> tuple[str, float] | None:
    """Name and microseconds of the fastest engine whose name begins with one of `prefixes`; None if none was timed."""
    timed = [
        (figures["best_us"], name)
        for name, figures in engines.items()
        if measured(figures) and any(name.startswith(prefix) for prefix in prefixes)
    ]
    return (min(timed)[1], min(timed)[0]) if timed else None
