"""Speed and memory of the CPU runtime with ViT-B/16 cpu8, against the literal PyTorch reference in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import console, footage, reference_bundle, write_result
from stprompt_edge.bench import bench_bundle
from stprompt_edge.bundle import Bundle
from stprompt_edge.console import bench_report
from stprompt_edge.model.literal import literal_reference

FRAMES = 60
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
    write_result("speed", {"model": clip.model, **result.to_dict(), "source": video.name, "runs": runs})


if __name__ == "__main__":
    main()
