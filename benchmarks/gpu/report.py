"""The result: its shape, its file, and the table that is printed.

A section is either what was measured or `{"not_measured": reason}`; so is any part of one. Figures are finite.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.measuring import measured
from stprompt_edge.files import write_text_atomic

SCHEMA = 1
SECTIONS = (
    "build", "kernel_check", "tests", "sanitizer", "ceilings", "preprocessing", "parity", "steps", "watch_end_to_end",
    "video", "autotune",
)  # fmt: skip
HEAD = ("schema", "measured", "complete", "mode", "device", "machine", "encoder", "targets", "seconds")


def check_result(result: dict[str, Any]) -> None:
    """Every part of the head is there, every section is known, every leaf is plain and finite.

    Raises:
        ValueError: names the part.
    """
    for name in HEAD:
        if name not in result:
            raise ValueError(f"the result lacks {name}")
    if result["schema"] != SCHEMA:
        raise ValueError(f"the result has schema {result['schema']}, expected {SCHEMA}")
    unknown = sorted(set(result) - set(HEAD) - set(SECTIONS))
    if unknown:
        raise ValueError(f"the result has unknown parts: {', '.join(unknown)}")
    if result["complete"] and (absent := [name for name in SECTIONS if name not in result]):
        raise ValueError(f"the result is complete but lacks {', '.join(absent)}")
    for where, leaf in _leaves(result, ""):
        if not isinstance(leaf, (str, int, float, bool)) or (isinstance(leaf, float) and not math.isfinite(leaf)):
            raise ValueError(f"{where} is {leaf!r}, expected text, a finite number, true or false")


def _leaves(part: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from _leaves(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(part, (list, tuple)):
        for index, inner in enumerate(part):
            yield from _leaves(inner, f"{where}[{index}]")
    else:
        yield where, part


def write_result(result: dict[str, Any], path: Path) -> None:
    """Whole or not at all.

    Raises:
        ValueError: see `check_result`.
    """
    check_result(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json.dumps(result, indent=2) + "\n")


def file_name(device: str) -> str:
    """`gpu-<name>.json`.

    >>> file_name("NVIDIA H100 80GB HBM3")
    'gpu-nvidia-h100-80gb-hbm3.json'
    """
    return f"gpu-{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-') or 'unknown'}.json"


def lines(result: dict[str, Any]) -> list[str]:
    """All tables, as text; what has no figures is listed at the end, by reason."""
    text = [f"{result['device']['name']}, torch {result['machine']['torch']}; encoder: {result['encoder']['what']}", ""]
    for row in result["targets"]:
        text.append(f"{row['state']:12}  {row['target']}: {row['found']}; wanted {row['wanted']}")
        text += [f"{'':12}  {row['limit']}"] if row["limit"] else []
    text.append("")
    text += _table("preprocessing, one frame", ["frame", "kernel µs", "GB/s", "of copy", "x torch", "x OpenCV"], [
        _preprocessing_row(name, part) for name, part in _parts(result, "preprocessing") if measured(part)
    ])  # fmt: skip
    text += _table("steps", ["step", "batch", "engine", "plain ms", "graph ms", "frames/s", "of products"], [
        _step_row(step, batch, engine, figures)
        for step, steps in _parts(result, "steps")
        for batch, one in steps["batches"].items()
        for engine, figures in one["engines"].items()
        if measured(figures)
    ])  # fmt: skip
    text += _table("watch step end to end, batch 1", ["frame", "engine", "way", "p50 ms", "p95 ms"], [
        [size, engine, way, f"{figures['p50_ms']:.3f}", f"{figures['p95_ms']:.3f}"]
        for size, engines in _parts(result, "watch_end_to_end")
        for engine, ways in engines.items()
        for way, figures in ways.items()
        if measured(figures)
    ])  # fmt: skip
    video = [(name, part) for name, part in _parts(result, "video") if isinstance(part, dict)]
    text += _table("video", ["", "camera frames/s"], [
        [name, f"{part['camera_frames_per_s']:,.0f}"] for name, part in video if "camera_frames_per_s" in part
    ])  # fmt: skip
    reasons: dict[str, list[str]] = {}
    for where, reason in not_measured(result):
        reasons.setdefault(reason, []).append(where)
    return text + [f"not measured ({_places(where)}): {reason}" for reason, where in reasons.items()]


def _places(where: list[str]) -> str:
    return where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"


def not_measured(part: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every part that has a reason instead of figures."""
    if isinstance(part, dict):
        if "not_measured" in part:
            yield where, part["not_measured"]
        else:
            for name, inner in part.items():
                yield from not_measured(inner, f"{where}, {name}" if where else str(name))


def _parts(result: dict[str, Any], section: str) -> list[tuple[str, Any]]:
    part = result.get(section)
    return list(part.items()) if measured(part) and part is not None else []


def _preprocessing_row(name: str, part: dict[str, Any]) -> list[str]:
    kernel = part["kernel"]
    torch_times = f"{part['times_faster_than_torch']:.1f}" if "times_faster_than_torch" in part else "-"
    share = f"{100 * kernel['of_copy_ceiling']:.0f} %"
    return [
        name, f"{kernel['best_us']:.1f}", f"{kernel['gb_s']:.0f}", share, torch_times,
        f"{part['times_faster_than_opencv']:.1f}",
    ]  # fmt: skip


def _step_row(step: str, batch: str, engine: str, figures: dict[str, Any]) -> list[str]:
    ways = [
        f"{figures[way]['p50_us'] / 1e3:.3f}" if measured(figures[way]) else "-" for way in ("plain", "graph")
    ]  # fmt: skip
    share = f"{100 * figures['of_product_ceiling']:.0f} %" if "of_product_ceiling" in figures else "-"
    return [step, batch, engine, *ways, f"{figures['frames_per_s']:,.0f}", share]


def _table(title: str, heads: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]

    def line(cells: list[str]) -> str:
        return "  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return [title, line(heads), line(["-" * width for width in widths]), *map(line, rows), ""]
