"""int8 against fp32 on real frames of three videos, ViT-B/16 with seeded weights: calibrated on two of them.

fp16 beside it, from the same frames. The third video was not seen in calibration; of the two others the calibration has
seen other frames. Everything runs on ONNX Runtime's CPU provider, which rounds as the Q and DQ nodes say.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rich.table import Table

from benchmarks.common import FOOTAGE, REFERENCE_BUNDLE, console, footage, reference_bundle, write_result
from stprompt_edge.bundle import load_bundle
from stprompt_edge.calibration import Int8Settings, calibrate_int8
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.export.parity import compare, read_parity_frames, trace
from stprompt_edge.runtime.watch import versions

UNSEEN = FOOTAGE.parent / "falls" / "fall_12.mp4"
CALIBRATION_FRAMES = 32  # an eighth of what is usual; the ranges of seeded weights hardly differ between frames
FRAMES = 8  # from each video
METHOD = "minmax"


def main() -> None:
    """Measure and write int8.json."""
    reference_bundle()
    videos = footage()[:2]
    with tempfile.TemporaryDirectory() as folder:
        bundle_path = Path(folder) / "bundle"
        shutil.copytree(REFERENCE_BUNDLE, bundle_path)
        settings = Int8Settings(
            footage=tuple(map(str, videos)), out=Path(folder) / "report", frames=CALIBRATION_FRAMES, method=METHOD
        )
        with live_steps(console) as progress:
            done, _ = calibrate_int8(bundle_path, settings, progress)
        bundle = load_bundle(bundle_path)
        table = Table("precision", "video", "min cosine", "max score difference")
        rows = []
        for video in [*videos, UNSEEN] if UNSEEN.exists() else videos:
            frames = read_parity_frames(video, FRAMES)
            reference = trace(bundle, "fp32", frames, lambda: None)
            for precision in ("fp16", "int8"):
                figures = compare(trace(bundle, precision, frames, lambda: None), reference, video.name)
                rows.append({"precision": precision, "calibrated_on": video in videos, **figures.model_dump()})
                table.add_row(precision, video.name, f"{figures.min_cosine:.5f}", f"{figures.max_score_difference:.5f}")
    console.print(table)
    costly = sorted(done.layers, key=lambda row: -row.cost)[:5]
    facts = {
        "model": bundle.manifest.clip.model,
        "weights": f"random, seed {bundle.manifest.clip.seed}",
        "method": METHOD,
        "calibration_frames": len(done.choice.calibration),
        "layers": len(done.layers),
        "layers_in_float": len(done.left_in_float),
        "gate": done.parity.model_dump(),
        "costliest": [{"layer": row.label, "cosine_lost_alone": row.cost} for row in costly],
    }
    write_result("int8", {**facts, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    main()
