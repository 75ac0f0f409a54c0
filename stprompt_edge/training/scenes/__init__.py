"""Rendered CCTV with exact labels, for tests, demos and benchmarks. NumPy, OpenCV and PyAV only."""

from stprompt_edge.training.scenes.scene import ANOMALIES, NORMAL, RenderedFrame, SceneSpec, render_video

__all__ = ["ANOMALIES", "NORMAL", "RenderedFrame", "SceneSpec", "render_video"]
