"""The result's shape, the table, and the targets."""

from __future__ import annotations

import copy
import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import report
from benchmarks.gpu.report import check_result, lines, not_measured, write_result
from benchmarks.gpu.targets import MET, NOT_MET, UNKNOWN, targets

ABSENT = {"not_measured": "no such thing here"}


def way(p50_us: float) -> dict[str, Any]:
    return {"p50_us": p50_us, "p95_us": p50_us, "repeats": 5, "calls": 1}


def engine(best_us: float, share: float = 0.3) -> dict[str, Any]:
    figures = {"plain": way(best_us), "graph": ABSENT, "best_us": best_us, "frames_per_s": 1e6 / best_us}
    return {"note": "", **figures, "tflops": 240.0, "of_product_ceiling": share}


def result(**change: Any) -> dict[str, Any]:
    """A complete one that meets every target."""
    engines = {
        "torch eager fp16": engine(900),
        "torch.compile fp16 (default)": engine(700),
        "TensorRT fp16": engine(400),
    }
    watch = {"p50_ms": 1.2, "p95_ms": 1.5, "repeats": 9, "score": 0.5}
    watch["stages_p50_ms"] = {"pack": 0.5, "device": 0.6, "host": 0.04, "heads": 0.06}
    preprocessing = {
        "kernel": {"best_us": 3.5, "gb_s": 2000.0, "of_copy_ceiling": 0.7, "plain": way(9.0), "graph": way(3.5)},
        "copy_of_the_same_bytes": {"plain": way(8.0), "graph": way(4.0)},
        "times_faster_than_torch": 5.0, "times_faster_than_opencv": 300.0,
    }  # fmt: skip
    steps = {"fine": 12, "coarse": 0}
    batches = {str(batch): {"gflop": 42.0, "engines": copy.deepcopy(engines)} for batch in (1, 32)}
    for figures in batches["32"]["engines"].values():
        figures["of_product_ceiling"] = 0.5
    found: dict[str, Any] = {
        "schema": report.SCHEMA, "measured": "2026-01-01 00:00 UTC", "complete": True, "mode": "full",
        "device": {"kind": "cuda", "name": "NVIDIA H100 80GB HBM3"}, "machine": {"torch": "2.11"},
        "encoder": {"what": "plain"}, "targets": [], "seconds": {},
        "build": {"compiler": "nvcc 13.0"},
        "kernel_check": {"max_level_difference": 1, "max_motion_difference": 1e-7, "frames": 9, "equal": True},
        "tests": {"gpu": {"passed": True, "summary": "8 passed in 9s"}, "kernel": ABSENT},
        "sanitizer": {"memcheck": {"clean": True, "summary": "0 errors"}, "racecheck": ABSENT},
        "ceilings": {
            "copy": {"gb_s": 3000.0}, "product": {"tflops": 700.0}, "mlp_product": {"tflops": 600.0},
            "empty_launch": {"best_us": 1.5},
        },
        "preprocessing": {"1920x1080 bgr": preprocessing, "1920x1080 nv12": ABSENT},
        "parity": {"engines": {"TensorRT fp16": {"min_cosine": 0.9999, "within": True}, "ONNX": ABSENT}},
        "steps": {"watch": {**steps, "batches": batches}},
        "watch_end_to_end": {"1920x1080": {"TensorRT fp16": {"graph": watch, "plain": ABSENT}}},
        "video": {"stride_16": {"camera_frames_per_s": 900.0}, "engine": "TensorRT fp16"},
        "autotune": ABSENT,
    }  # fmt: skip
    return {**found, **change}


def states(found: dict[str, Any]) -> list[str]:
    return [row["state"] for row in targets(found)]


def test_all_targets_met() -> None:
    rows = targets(result())
    assert [row["state"] for row in rows] == [MET] * 9
    latency, bandwidth, throughput = rows[4], rows[6], rows[8]
    assert latency["limit"].startswith("device takes most: pack 0.500, device 0.600")
    assert bandwidth["limit"] == "a copy of the frame alone takes 4.0 µs, an empty launch 1.5 µs"
    assert throughput["limit"].startswith("its largest product alone reaches 86 %")
    assert "batch 1: TensorRT fp16 1.75 x torch.compile fp16 (default)" in rows[5]["found"]


@pytest.mark.parametrize(
    ("index", "section", "where", "value"),
    [
        (0, "kernel_check", ["equal"], False),
        (1, "tests", ["gpu", "passed"], False),
        (2, "sanitizer", ["memcheck", "clean"], False),
        (3, "parity", ["engines", "TensorRT fp16", "within"], False),
        (4, "watch_end_to_end", ["1920x1080", "TensorRT fp16", "graph", "p50_ms"], 2.0),
        (5, "steps", ["watch", "batches", "32", "engines", "TensorRT fp16", "best_us"], 701.0),
        (6, "preprocessing", ["1920x1080 bgr", "kernel", "of_copy_ceiling"], 0.6),
        (7, "preprocessing", ["1920x1080 bgr", "times_faster_than_torch"], 3.0),
        (8, "steps", ["watch", "batches", "32", "engines", "TensorRT fp16", "of_product_ceiling"], 0.4),
    ],
)
def test_one_target_missed(index: int, section: str, where: list[str], value: Any) -> None:
    found = result()
    part = found[section]
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    assert states(found) == [NOT_MET if i == index else MET for i in range(9)]


@pytest.mark.parametrize("absent", [ABSENT, None])
def test_what_was_not_measured_is_neither_met_nor_missed(absent: Any) -> None:
    sections = {name: absent for name in report.SECTIONS}
    rows = targets(result(**sections))
    assert [row["state"] for row in rows] == [UNKNOWN] * 9
    if absent:
        assert all(row["found"] in ("no such thing here", "no watch step ran", "batch 32 was not run") for row in rows)


def test_engines_that_are_missing_are_named() -> None:
    found = result()
    for batch in found["steps"]["watch"]["batches"].values():
        batch["engines"]["TensorRT fp16"] = {"not_measured": "no TensorRT"}
    assert targets(found)[5]["found"] == "TensorRT fp16: no TensorRT"
    assert targets(found)[5]["state"] == UNKNOWN


def test_the_table_and_the_reasons() -> None:
    found = result()
    found["targets"] = targets(found)
    text = "\n".join(lines(found))
    assert "met           GPU test group: 8 passed in 9s; wanted passes" in text
    assert "1920x1080 bgr  3.5        2000  70 %     5.0      300.0" in text
    assert "not measured (tests, kernel and " in text
    assert ("sanitizer, racecheck", "no such thing here") in list(not_measured(found))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, "has schema 2, expected 1"),
        ({"more": 1}, "unknown parts: more"),
        ({"video": {"seconds": float("nan")}}, r"video\.seconds is nan"),
        ({"video": {"list": [1, None]}}, r"video\.list\[1\] is None"),
    ],
)
def test_a_result_of_another_shape_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_result(result(**change))


def test_a_result_that_lacks_something_is_refused() -> None:
    found = result()
    del found["video"]
    with pytest.raises(ValueError, match="complete but lacks video"):
        check_result(found)
    check_result({**found, "complete": False})
    del found["device"]
    with pytest.raises(ValueError, match="lacks device"):
        check_result(found)


def test_it_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "results" / "gpu.json"
    write_result(result(), path)
    assert json.loads(path.read_text())["mode"] == "full"
    assert [file.name for file in path.parent.iterdir()] == ["gpu.json"]


def test_docstrings() -> None:
    assert doctest.testmod(report).failed == 0
