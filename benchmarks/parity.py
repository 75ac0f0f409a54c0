"""fp16 and cpu8 against fp32 on real frames, ViT-B/16: embeddings and scores."""

from __future__ import annotations

from rich.table import Table

from benchmarks.common import console, footage, reference_bundle, write_result
from stprompt_edge.export.parity import compare, read_parity_frames, trace
from stprompt_edge.runtime.watch import versions

FRAMES = 12  # from each video


def main() -> None:
    """Measure and write parity.json."""
    bundle = reference_bundle()
    table = Table("precision", "video", "min cosine", "max score difference")
    rows = []
    for video in footage():
        frames = read_parity_frames(video, FRAMES)
        reference = trace(bundle, "fp32", frames, lambda: None)
        for precision in ("fp16", "cpu8"):
            figures = compare(trace(bundle, precision, frames, lambda: None), reference, video.name)
            rows.append({"precision": precision, **figures.model_dump()})
            table.add_row(precision, video.name, f"{figures.min_cosine:.5f}", f"{figures.max_score_difference:.5f}")
    console.print(table)
    write_result("parity", {"model": bundle.manifest.clip.model, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    main()
