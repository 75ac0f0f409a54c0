"""Makes the packaged demo bundle from nothing: `make demo-bundle`, or `python -m demo.bundle`.

Scenes -> encoder -> features -> STPrompt from video-level labels -> thresholds -> bundle, with the steps that a user
takes with real footage; only the encoder is trained here, where others take a pretrained one. From then on it is what
`--pretrained demo` loads in a clone. Scenes, frames and every phase of the encoder stay in the working folder and are
not made twice: after a change to how they are made, remove them.

Three sets of cameras are rendered and never mixed: training, calibration (thresholds) and test (figures only).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from demo.encoder import (
    EncoderSettings,
    load_samples,
    render_samples,
    train_encoder,
    weights_file,
)
from demo.scenes import render_dataset
from demo.thresholds import choose_alarm, choose_localization, located_windows
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP, DEMO_MODEL, DEMO_WEIGHTS
from stprompt_edge.bundle import Bundle
from stprompt_edge.datasets import load_dataset
from stprompt_edge.evaluation import EvaluationSettings, evaluate_bundle
from stprompt_edge.export.exporting import ExportSettings, Model, export_bundle
from stprompt_edge.features.extraction import ExtractionSettings, extract_dataset
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.model.checkpoint import load_checkpoint
from stprompt_edge.model.clip import DEMO_TAG, Clip, load_clip, packed_weights
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.training.commands import TrainSettings, train
from stprompt_edge.training.recipe import load_recipe
from stprompt_edge.vocabulary import load_vocabulary

WORK = Path("build/demo")
VOCABULARY, RECIPE = "scenes", "scenes"
SCENES_SEED, TRAIN_VIDEOS, TEST_VIDEOS = 0, 60, 40
CALIBRATION_SEED, CALIBRATION_VIDEOS = 1, 24
SECONDS = (20.0, 60.0)  # of a video: shortest and longest
PLACES = 3600  # of ten frames each, for the encoder
NOTE = "rendered scenes only; it shows that the pipeline works and knows nothing of real cameras"

Say = Callable[[str], None]


def make_demo_bundle(work: Path, workers: int, say: Say = print) -> Bundle:
    """Every step from rendering to the packaged bundle; what the working folder holds already is taken from there."""
    for name, seed, train_count, test_count in (
        ("scenes", SCENES_SEED, TRAIN_VIDEOS, TEST_VIDEOS),
        ("calibration", CALIBRATION_SEED, CALIBRATION_VIDEOS, 0),
    ):
        if not (work / name / "labels.csv").exists():
            say(f"rendering {train_count + test_count} videos: {name}")
            render_dataset(work / name, seed, train_count, test_count, seconds=SECONDS, workers=workers)
    _make_encoder(work, workers, say)
    clip = load_clip(DEMO_MODEL, DEMO_TAG)
    features = _features(clip, work, workers, say)
    say("training STPrompt from video-level labels")
    shutil.rmtree(work / "checkpoint", ignore_errors=True)
    settings = TrainSettings(features=features, out=work / "checkpoint", vocabulary=VOCABULARY, recipe=RECIPE)
    checkpoint = load_checkpoint(train(settings, stop=threading.Event(), on_epoch=lambda row, recipe: None))
    model = Model.from_checkpoint(clip, checkpoint)
    model = dataclasses.replace(model, training={**checkpoint.training, "note": NOTE})
    say("exporting a draft and choosing its thresholds on the calibration videos")
    export = ExportSettings(precisions=("cpu8",), parity_video=DEMO_CLIP)
    calibrated = calibrate(model, export_bundle(model, work / "draft", export), work, workers)
    say(f"exporting {DEMO_BUNDLE}")
    return export_bundle(calibrated, DEMO_BUNDLE, export)


def calibrate(model: Model, draft: Bundle, work: Path, workers: int) -> Model:
    """The model with the localization and the alarm that do best on the calibration videos."""
    videos = load_dataset(work / "calibration", "auto")
    with open_backend("onnx", draft).backend as backend:
        frames = [frame for video in videos.videos for frame in located_windows(video, draft, backend)]
    localization, _ = choose_localization(draft, frames)
    settings = EvaluationSettings(streaming=True, split="train", processes=workers)
    scored = evaluate_bundle(draft, videos, settings).videos
    return dataclasses.replace(model, localization=localization, alarm=choose_alarm(scored, draft.manifest.method))


def _make_encoder(work: Path, workers: int, say: Say) -> None:
    """Train the small CLIP and put its weights where the repository has them."""
    settings = EncoderSettings()
    samples, weights = work / "samples.safetensors", work / "demo-encoder.safetensors"
    if not samples.exists():
        say(f"rendering frames of {PLACES} places")
        render_samples(samples, SCENES_SEED, PLACES, workers=workers)
    if not weights.exists():
        say(f"training the encoder in phases of {', '.join(str(phase.steps) for phase in settings.phases)} steps")
        clip = train_encoder(
            load_samples(samples),
            settings,
            work,
            lambda p: say(f"step {p.step + 1}: losses {p.losses}, right {p.accuracies}") if p.step % 50 == 0 else None,
        )
        write_bytes_atomic(weights, weights_file(clip))
    write_bytes_atomic(DEMO_WEIGHTS, packed_weights(load_clip(DEMO_MODEL, str(weights))))


def _features(clip: Clip, work: Path, workers: int, say: Say) -> Path:
    """Features of the rendered data set, through a bundle without heads."""
    say("exporting the encoder")
    stride = load_recipe(RECIPE).stride
    settings = ExportSettings(precisions=("cpu8",), parity_video=DEMO_CLIP)
    bundle = export_bundle(Model.zero_shot(clip, load_vocabulary(VOCABULARY), stride), work / "encoder", settings)
    say("extracting features")
    features = work / f"features-{clip.weights_sha256[:12]}"  # those of another encoder stay out of it
    extract_dataset(
        load_dataset(work / "scenes", "auto"),
        features,
        ExtractionSettings(bundle=bundle.path, stride=stride, keep_windows=True, processes=workers),
    )
    return features


def main() -> None:
    """Make the packaged bundle."""
    parser = argparse.ArgumentParser(prog="python -m demo.bundle", description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK, help="folder of what is made on the way")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    bundle = make_demo_bundle(given.work, given.workers)
    print(f"wrote {bundle.path}")


if __name__ == "__main__":
    main()
