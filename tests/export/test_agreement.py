"""Train, export, run: the checkpoint's scores in torch, the bundle's, and those of the stream are the same."""

from itertools import islice

import numpy as np
import pytest
import torch

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle
from stprompt_edge.export import Model
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.aggregation import aggregate, pixel_motion, select_windows
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.preprocess import preprocess
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.detector import Detector
from stprompt_edge.runtime.records import CameraFrame
from stprompt_edge.runtime.sources import open_source

FRAMES = 24
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-3, "cpu8": 0.01}


@pytest.fixture(scope="module")
def frames() -> list[CameraFrame]:
    """Sampled frames in which things move."""
    with open_source(str(DEMO_CLIP)) as source:
        return list(islice(source.frames(lambda index: index % 4 == 0), FRAMES))


@pytest.fixture(scope="module")
def torch_scores(stprompt_model: Model, frames: list[CameraFrame]) -> np.ndarray:
    """Eq. 1-5 on the whole video at once, in torch and nothing else."""
    model, geometry, method = stprompt_model.trained, Geometry(), stprompt_model.method
    assert model is not None
    prepared = [preprocess(frame.image_bgr, stprompt_model.clip.preprocessing) for frame in frames]
    luma_THW = torch.from_numpy(np.stack([frame.luma for frame in prepared]))
    motion_TN = pixel_motion(luma_THW, torch.from_numpy(geometry.windows_xyxy(geometry.fine)), method.motion_timing)
    fine_TK = select_windows(motion_TN, method.windows)
    images = torch.from_numpy(np.stack([frame.image for frame in prepared]))
    with torch.inference_mode():
        encoder = PackedEncoder(stprompt_model.clip.model.visual, geometry).eval()
        embedded = encoder(images, fine_TK, fine_TK[:, :0])
        logits = model(embedded.frame, aggregate(embedded.fine, motion_TN.gather(1, fine_TK)))
        return anomaly_score(logits.anomaly_logit, logits.similarity, method.tau, method.score).numpy()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "cpu8"])
def test_the_stream_gives_the_scores_of_the_checkpoint(small_bundle: Bundle, torch_scores, frames, precision):
    with OnnxBackend(small_bundle, precision=precision) as backend:
        detector = Detector(small_bundle, backend, localize="never", lookahead=None)
        found = [item for frame in frames for item in detector.push(frame)] + detector.flush()
    scores = np.array([item.detection.score for item in found])
    np.testing.assert_allclose(scores, torch_scores, atol=TOLERANCE[precision], rtol=0)
