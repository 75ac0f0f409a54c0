"""The scores of the demo bundle on the first seconds of the demo clip, kept in demo_scores.json.

They change when the clip, the bundle or the arithmetic changes. When that is meant, write them again:

    python -m tests.golden.demo_scores
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import describe_file, load_bundle
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.sources import open_source

FILE = Path(__file__).with_name("demo_scores.json")
FRAMES = 80  # camera frames, 20 sampled
TOLERANCE = 0.01  # of scores and probabilities between processors; the figures themselves vary by more


def measure() -> dict[str, Any]:
    """Scores, normal probabilities and classifier probabilities of each sampled frame, to 5 places."""
    bundle = load_bundle(DEMO_BUNDLE)
    stride = bundle.manifest.method.stride
    scores: dict[str, list[float]] = {}
    for branch in ("a", "c"):
        method = bundle.manifest.method.model_copy(update={"score": branch})
        bundle = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"method": method}))
        with open_backend("onnx", bundle).backend as backend, open_source(str(DEMO_CLIP)) as source:
            observer = Observer(bundle, backend, localize="never")
            frames = source.frames(lambda index: index % stride == 0 and index < FRAMES)
            found = [item for frame in frames for item in observer.push(frame)] + observer.flush()
        scores[branch] = [round(item.detection.score, 5) for item in found]
    classes = [[round(float(p), 5) for p in item.detection.class_probabilities] for item in found]
    return {
        "clip_sha256": describe_file(DEMO_CLIP).sha256,
        "encoder_sha256": bundle.manifest.files["encoder.cpu8.onnx"].sha256,
        "scores": scores,
        "class_probabilities": classes,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    print(FILE)
