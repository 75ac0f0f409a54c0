"""What issue 4 wants of a data-centre GPU, against what was measured, and what limits each."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.end_to_end import best_watch_step
from benchmarks.gpu.measuring import measured
from benchmarks.gpu.steps import fastest

MET, NOT_MET, UNKNOWN = "met", "not met", "not measured"
FULL_HD = "1920x1080"
OURS = ("TensorRT", "ONNX Runtime CUDA")  # what the runtime ships; torch is what it is compared with
COMPILED = ("torch.compile",)


def targets(result: dict[str, Any]) -> list[dict[str, str]]:
    """A row for each target: what, wanted, found, state, limit."""
    return [
        _kernel_equal(result),
        _tests(result),
        _sanitizer(result),
        _parity(result),
        _watch_latency(result),
        _ahead_of_compile(result),
        _bandwidth(result),
        _times_torch(result),
        _throughput(result),
    ]


def row(target: str, wanted: str, found: str, met: bool | None, limit: str = "") -> dict[str, str]:
    """One line of the table; `met` is None where it was not measured."""
    state = UNKNOWN if met is None else MET if met else NOT_MET
    return {"target": target, "wanted": wanted, "found": found, "state": state, "limit": limit}


def reason(part: Any) -> str:
    """Why there is nothing in a part of a result."""
    return "it did not run" if part is None else str(part.get("not_measured", "it did not run"))


def _kernel_equal(result: dict[str, Any]) -> dict[str, str]:
    part, what, wanted = result.get("kernel_check"), "kernel equals its definition", "1 level, motion 1e-5"
    if not measured(part) or part is None:
        return row(what, wanted, reason(part), None)
    found = f"{part['max_level_difference']} level, motion {part['max_motion_difference']:.1e}, {part['frames']} frames"
    return row(what, wanted, found, part["equal"])


def _tests(result: dict[str, Any]) -> dict[str, str]:
    part, what = result.get("tests"), "GPU test group"
    if not measured(part) or part is None:
        return row(what, "passes", reason(part), None)
    gpu = part["gpu"]
    if not measured(gpu):
        return row(what, "passes", reason(gpu), None)
    return row(what, "passes", gpu["summary"], gpu["passed"])


def _sanitizer(result: dict[str, Any]) -> dict[str, str]:
    part, what = result.get("sanitizer"), "compute-sanitizer"
    if not measured(part) or part is None:
        return row(what, "clean", reason(part), None)
    ran = {tool: figures for tool, figures in part.items() if measured(figures)}
    if not ran:
        return row(what, "clean", "; ".join(sorted({reason(figures) for figures in part.values()})), None)
    found = ", ".join(f"{tool}: {'clean' if figures['clean'] else figures['summary']}" for tool, figures in ran.items())
    return row(what, "clean", found, all(figures["clean"] for figures in ran.values()))


def _parity(result: dict[str, Any]) -> dict[str, str]:
    part, what = result.get("parity"), "fp16 against fp32 on the CPU"
    if not measured(part) or part is None:
        return row(what, "cosine >= 0.999", reason(part), None)
    ran = {name: figures for name, figures in part["engines"].items() if measured(figures)}
    if not ran:
        return row(what, "cosine >= 0.999", "no engine ran", None)
    found = ", ".join(f"{name} {figures['min_cosine']:.5f}" for name, figures in ran.items())
    return row(what, "cosine >= 0.999", found, all(figures["within"] for figures in ran.values()))


def _watch_latency(result: dict[str, Any]) -> dict[str, str]:
    part, what = result.get("watch_end_to_end"), f"watch step end to end, batch 1, {FULL_HD}, p50"
    best = best_watch_step(part.get(FULL_HD, {})) if measured(part) and part is not None else None
    if best is None:
        return row(what, "< 2 ms", reason(part), None)
    engine, way, figures = best
    stages = figures["stages_p50_ms"]
    largest = max(stages, key=lambda name: stages[name])
    shares = ", ".join(f"{name} {milliseconds:.3f}" for name, milliseconds in stages.items())
    found = f"{figures['p50_ms']:.3f} ms (p95 {figures['p95_ms']:.3f}), {engine}, {way}"
    return row(what, "< 2 ms", found, figures["p50_ms"] < 2, f"{largest} takes most: {shares} ms")


def _ahead_of_compile(result: dict[str, Any]) -> dict[str, str]:
    what, wanted = "ONNX Runtime CUDA or better against torch.compile fp16, watch", "faster"
    ratios, missing = [], ""
    for batch, figures in _watch_batches(result).items():
        ours, theirs = fastest(figures["engines"], OURS), fastest(figures["engines"], COMPILED)
        if ours and theirs:
            ratios.append((theirs[1] / ours[1], f"batch {batch}: {ours[0]} {theirs[1] / ours[1]:.2f} x {theirs[0]}"))
        else:
            names = OURS if not ours else COMPILED
            missing = _why_missing(figures["engines"], names)
    if not ratios:
        return row(what, wanted, missing or "no watch step ran", None)
    limit = "the same products in both; what differs is fused attention, casts and launches between them"
    return row(what, wanted, "; ".join(text for _, text in ratios), min(ratio for ratio, _ in ratios) > 1, limit)


def _why_missing(engines: dict[str, Any], names: tuple[str, ...]) -> str:
    told = [f"{name}: {reason(part)}" for name, part in engines.items() if name.startswith(names)]
    return "; ".join(dict.fromkeys(told)) or f"no {' or '.join(names)} ran"


def _bandwidth(result: dict[str, Any]) -> dict[str, str]:
    what, wanted = f"preprocess kernel, {FULL_HD} BGR, of copy bandwidth", "> 60 %"
    part = _preprocessing(result, "bgr")
    if part is None:
        return row(what, wanted, reason(result.get("preprocessing")), None)
    kernel, copied = part["kernel"], part["copy_of_the_same_bytes"]
    found = f"{100 * kernel['of_copy_ceiling']:.0f} % ({kernel['best_us']:.1f} µs, {kernel['gb_s']:.0f} GB/s)"
    notes = []
    if measured(copied):
        same = min(copied[way]["p50_us"] for way in ("plain", "graph") if measured(copied[way]))
        notes.append(f"a copy of the frame alone takes {same:.1f} µs")
    empty = (result.get("ceilings") or {}).get("empty_launch")
    if measured(empty) and empty is not None:
        notes.append(f"an empty launch {empty['best_us']:.1f} µs")
    return row(what, wanted, found, kernel["of_copy_ceiling"] > 0.6, ", ".join(notes))


def _times_torch(result: dict[str, Any]) -> dict[str, str]:
    what, wanted = f"preprocess kernel, {FULL_HD} BGR, against torch's resize + normalise", "> 3 x"
    part = _preprocessing(result, "bgr")
    if part is None or "times_faster_than_torch" not in part:
        return row(what, wanted, reason(result.get("preprocessing")), None)
    times = part["times_faster_than_torch"]
    found = f"{times:.1f} x torch, {part['times_faster_than_opencv']:.1f} x OpenCV on the CPU"
    return row(what, wanted, found, times > 3, "torch reads and writes the frame as float32 several times")


def _throughput(result: dict[str, Any]) -> dict[str, str]:
    what, wanted = "watch at batch 32, of the fp16 product ceiling", "> 40 %"
    batch = _watch_batches(result).get("32")
    best = fastest(batch["engines"], ("",)) if batch else None
    if batch is None or best is None or "of_product_ceiling" not in batch["engines"][best[0]]:
        return row(what, wanted, "batch 32 was not run" if batch is None else "no engine or no ceiling", None)
    figures = batch["engines"][best[0]]
    share = figures["of_product_ceiling"]
    found = f"{100 * share:.0f} % ({figures['tflops']:.0f} TFLOP/s, {figures['frames_per_s']:.0f} frames/s, {best[0]})"
    ceilings = result.get("ceilings") or {}
    product, mlp = ceilings.get("product"), ceilings.get("mlp_product")
    limit = ""
    if measured(product) and measured(mlp) and product and mlp:
        limit = f"its largest product alone reaches {100 * mlp['tflops'] / product['tflops']:.0f} % of the ceiling"
        limit += "; the rest goes to attention of small groups, norms and elementwise passes"
    return row(what, wanted, found, share > 0.4, limit)


def _watch_batches(result: dict[str, Any]) -> dict[str, Any]:
    steps = result.get("steps")
    return steps["watch"]["batches"] if measured(steps) and steps is not None else {}


def _preprocessing(result: dict[str, Any], kind: str) -> dict[str, Any] | None:
    part = result.get("preprocessing")
    one = part.get(f"{FULL_HD} {kind}") if measured(part) and part is not None else None
    return one if measured(one) else None
