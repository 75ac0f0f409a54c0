"""Makes the packaged demo bundle: `python -m stprompt_edge.export.demo_bundle`.

Its weights are random (seeded), so its scores mean nothing. It is small, has every part that a trained bundle has,
and its thresholds are set on the packaged clip so that the demo shows an alarm with boxes.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import AlarmSection, Bundle, MethodSection
from stprompt_edge.export.exporting import ExportSettings, Model, export_bundle
from stprompt_edge.model.clip import load_clip
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.runtime.backends import open_backend
from stprompt_edge.runtime.detector import DetectedFrame, Detector
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.vocabulary import load_vocabulary

SEED = 0
STRIDE = 8
NOTE = "random weights, thresholds set on the demo clip: scores mean nothing"


def make_demo_bundle(out: Path = DEMO_BUNDLE) -> Bundle:
    """Export the seeded model twice: once to see its scores on the clip, once with thresholds that fit them."""
    clip = load_clip("stprompt-demo-16", "none", SEED)
    vocabulary = load_vocabulary("ucf-crime")
    method = MethodSection(name="stprompt", stride=STRIDE, seconds_between_samples=STRIDE / 25)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        trained = STPrompt(clip, vocabulary.class_names, method.sigma).eval().requires_grad_(False)
    model = Model(clip=clip, vocabulary=vocabulary, method=method, trained=trained, training={"note": NOTE})
    settings = ExportSettings(precisions=("cpu8",), parity_video=DEMO_CLIP)
    folder = Path(tempfile.mkdtemp())
    try:
        draft = export_bundle(model, folder / "draft", settings)
        return export_bundle(_with_thresholds(model, detect_clip(draft)), out, settings)
    finally:
        shutil.rmtree(folder)


def detect_clip(bundle: Bundle) -> list[DetectedFrame]:
    """Every detection in the packaged clip, localized."""
    with open_backend("onnx", bundle).backend as backend, open_source(str(DEMO_CLIP)) as source:
        detector = Detector(bundle, backend, localize="always")
        frames = source.frames(lambda index: index % STRIDE == 0)
        return [found for frame in frames for found in detector.push(frame)] + detector.flush()


def _with_thresholds(model: Model, found: list[DetectedFrame]) -> Model:
    """A few alarms in the clip, boxes around about a fifth of the frame."""
    scores = np.array([item.detection.score for item in found])
    heat = np.stack([item.detection.localization.heat_map for item in found if item.detection.localization])
    on, off = (round(float(np.quantile(scores, quantile)), 4) for quantile in (0.95, 0.25))
    return dataclasses.replace(
        model,
        alarm=AlarmSection(threshold_on=on, threshold_off=off),
        localization=model.localization.model_copy(update={"threshold": round(float(np.quantile(heat, 0.8)), 4)}),
    )


if __name__ == "__main__":
    print(make_demo_bundle().path)
