"""Speed and memory of the CPU runtime with ViT-B/16 cpu8, against the literal PyTorch reference in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common import console, footage, reference_bundle, write_result
from stprompt_edge.bench import bench_bundle
from stprompt_edge.bundle import Bundle
from stprompt_edge.cli.bench import bench_report
from stprompt_edge.export.graphs import OPSET
from stprompt_edge.export.quantize import quantize_dynamic_int8
from stprompt_edge.model.literal import literal_reference
from stprompt_edge.runtime.backends.onnx import CPU, open_session

FRAMES = 60
WIDTH, MLP_WIDTH, LAYERS = 768, 3072, 12  # ViT-B/16
ROWS = 442  # tokens of a frame and 49 windows
STEPS = {"watch": 12, "watch_all": 49}  # fine windows
RUN_FRAMES = 640  # camera frames of the whole-program measurement


def run_program(bundle: Bundle, video: Path, *options: str) -> dict[str, Any]:
    """`stprompt-edge run` as a user starts it, in a process of its own: frames per second and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "stprompt_edge", "run", str(video), "--bundle", str(bundle.path), "--out", folder,
            "--max-frames", str(RUN_FRAMES), "--json", *options,
        ]  # fmt: skip
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = json.loads(output)
    return {
        "options": " ".join(options),
        "camera_frames": summary["camera_frames"],
        "wall_seconds": summary["wall_seconds"],
        "peak_rss_mib": summary["peak_rss_mib"],
    }


def product_ceiling() -> dict[str, float]:
    """Billions of multiply-adds per second of this machine's own matrix product kernels, at the MLP's size.

    No step can be faster than its multiply-adds at this rate, whatever surrounds them.
    """
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(size=(WIDTH, MLP_WIDTH)).astype(np.float32), "weight")
    shapes = ("x", [ROWS, WIDTH]), ("y", [ROWS, MLP_WIDTH])
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes)
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")
    graph = helper.make_graph([node], "product", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("fp32", "int8"):
            path = Path(folder) / f"{name}.onnx"
            onnx.save(model, path) if name == "fp32" else quantize_dynamic_int8(model, path)
            session = open_session(path, CPU, None)
            x = {"x": rng.normal(size=(ROWS, WIDTH)).astype(np.float32)}
            best = min(timeit.repeat(lambda session=session, x=x: session.run(None, x), number=1, repeat=100))
            rates[name] = round(ROWS * WIDTH * MLP_WIDTH / best / 1e9, 1)
    return rates


def encoder_macs(windows: int) -> float:
    """Billions of multiply-adds in the matrix products of one frame and `windows` fine windows, ViT-B/16."""
    tokens, groups = 197 + 5 * windows, 1 + windows
    block = 12 * WIDTH**2  # QKV 3, output 1, MLP 8
    last = tokens * 2 * WIDTH**2 + groups * 10 * WIDTH**2  # keys and values of all tokens, the rest of class tokens
    return ((LAYERS - 1) * tokens * block + last + 196 * WIDTH**2) / 1e9


def main() -> None:
    """Measure and write speed.json."""
    bundle = reference_bundle()
    video = footage()[-1]
    clip = bundle.manifest.clip
    runs = [
        run_program(bundle, video, "--localize", "never", "--no-save-video"),
        run_program(bundle, video, "--localize", "always", "--save-video"),
    ]
    result = bench_bundle(
        bundle, "onnx", str(video), FRAMES,
        load_reference=lambda: literal_reference(clip.model, clip.pretrained, clip.seed, bundle.geometry),
    )  # fmt: skip
    console.print(bench_report(result))
    ceiling = product_ceiling()
    least_ms = {name: round(encoder_macs(windows) / ceiling["int8"] * 1e3, 1) for name, windows in STEPS.items()}
    limits = {"gmac_per_second": ceiling, "least_ms": least_ms}
    console.print(limits)
    write_result(
        "speed", {"model": clip.model, **result.to_dict(), "source": video.name, "runs": runs, "limits": limits}
    )


if __name__ == "__main__":
    main()
