"""The reference bundle, the footage, and where results go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bench.latency import timestamp
from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.files import write_text_atomic
from stprompt_edge.listing import is_data
from stprompt_edge.progress import open_console

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
REFERENCE_BUNDLE = ROOT / "bundles" / "vit-b-16-seeded"
FOOTAGE = ROOT.parent / "shared" / "data" / "videos"
console = open_console(stderr=False)


def reference_bundle() -> Bundle:
    """ViT-B/16 with seeded random weights, zero-shot, all precisions; exported on first use."""
    if not REFERENCE_BUNDLE.exists():
        from stprompt_edge.export import ExportSettings, export_from_names

        REFERENCE_BUNDLE.parent.mkdir(exist_ok=True)
        with live_steps(console) as progress:
            export_from_names(
                None, REFERENCE_BUNDLE, "ViT-B-16-quickgelu", "none", "ucf-crime",
                stride=16, seed=0, settings=ExportSettings(parity_video=DEMO_CLIP), progress=progress,
            )  # fmt: skip
    return load_bundle(REFERENCE_BUNDLE)


def footage() -> list[Path]:
    """Real surveillance clips where they are at hand, else the packaged rendered one."""
    return sorted(file for file in FOOTAGE.glob("*.mp4") if is_data(file.name)) or [DEMO_CLIP]


def write_result(name: str, content: dict[str, Any]) -> None:
    """Write benchmarks/results/NAME.json with the time of the measurement."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_text_atomic(path, json.dumps({"measured": timestamp(), **content}, indent=2) + "\n")
    console.print(f"wrote {path.relative_to(ROOT)}")


def read_result(name: str, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """The committed figures of a benchmark; `missing` where there are none yet."""
    if missing is not None and not (RESULTS / f"{name}.json").exists():
        return missing
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
