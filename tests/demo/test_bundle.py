"""What the packaged bundle does with the packaged clip, and with an ordinary day before the same camera."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from demo.scenes.demo_clip import DEMO
from demo.scenes.scene import NORMAL, Stage, render_video
from demo.scenes.video_file import write_video
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import load_bundle
from stprompt_edge.evaluation.metrics import box_iou
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.sources import CameraConfig
from stprompt_edge.runtime.watch import RunSettings, run

LEAST_IOU = 0.25  # of the boxes with the true one, in half of the sampled frames in which it burns


def events_of(source: Path, out: Path) -> list[dict]:
    bundle = load_bundle(DEMO_BUNDLE)
    with open_backend("auto", bundle).backend as backend:
        run(CameraConfig(source=str(source)), bundle, backend, RunSettings(out=out, save_video=False))
    return json.loads((out / "events.json").read_text())["events"]


def test_the_clip_is_alarmed_while_the_bin_burns_and_the_fire_is_boxed(tmp_path):
    (event,) = events_of(DEMO_CLIP, tmp_path / "out")
    assert DEMO.start_s <= event["start_seconds"] <= DEMO.start_s + 4
    assert event["top_class"] == "fire and smoke"
    scene, ious = Stage(DEMO), []
    for found in event["frames"]:
        if truth := scene.frame(0, found["seconds"]).boxes:
            boxes = np.array(found["boxes"]).reshape(-1, 5)[:, :4]  # the fifth is the box's probability
            ious.append(box_iou(boxes, np.array(truth)))
    assert len(ious) > 20
    assert np.median(ious) > LEAST_IOU


def test_an_ordinary_day_before_the_same_camera_is_not_alarmed(tmp_path):
    quiet = dataclasses.replace(DEMO, anomaly=NORMAL, start_s=0.0, end_s=0.0, seconds=10.0)
    frames = (frame.image_bgr for frame in render_video(quiet))
    write_video(frames, tmp_path / "quiet.mp4", fps=quiet.fps, size_wh=quiet.size_wh, crf=28)
    assert events_of(tmp_path / "quiet.mp4", tmp_path / "out") == []
