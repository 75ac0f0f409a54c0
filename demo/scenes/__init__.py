"""Rendered CCTV with exact labels, for tests, demos and benchmarks. NumPy, OpenCV and PyAV only."""

from demo.scenes.dataset import render_dataset
from demo.scenes.plan import DatasetSpec, PlannedVideo, plan
from demo.scenes.scene import ANOMALIES, NORMAL, RenderedFrame, SceneSpec, render_video

__all__ = [
    "ANOMALIES",
    "NORMAL",
    "DatasetSpec",
    "PlannedVideo",
    "RenderedFrame",
    "SceneSpec",
    "plan",
    "render_dataset",
    "render_video",
]
