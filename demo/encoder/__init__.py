"""The small CLIP of the packaged demo, trained from nothing on captioned frames and windows of rendered scenes.

It is an ordinary open_clip model (`stprompt-demo-16`) that only knows rendered CCTV. Everything behind it (features,
STPrompt from video-level labels, calibration, export) treats it as any pretrained CLIP.
"""

from demo.encoder.captions import CAPTIONS, Captions
from demo.encoder.contrastive import EncoderSettings, Phase, train_encoder, weights_file
from demo.encoder.samples import Samples, load_samples, render_samples

__all__ = [
    "CAPTIONS",
    "Captions",
    "EncoderSettings",
    "Phase",
    "Samples",
    "load_samples",
    "render_samples",
    "train_encoder",
    "weights_file",
]
