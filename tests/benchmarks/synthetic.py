"""A data set whose features are noise with something to learn in some windows of the abnormal frames."""

from pathlib import Path

import numpy as np

from benchmarks.featured import FeaturedDataset, FeaturedVideo
from stprompt_edge.datasets import Dataset, LabelledVideo
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.vocabulary import load_vocabulary

WIDTH, FRAMES, WINDOWS, STRIDE = 128, 12, 16, 4
ORIGIN = FeatureOrigin(
    clip="c", pretrained="none", seed=0, weights_sha256="0" * 64, precision="fp32", encoder_sha256=None,
    stride=STRIDE, windows=12, motion_timing="centered",
)  # fmt: skip


def synthetic(name: str, class_name: str = "fighting", train: int = 12, test: int = 6) -> FeaturedDataset:
    """Every other video is abnormal, in its middle third."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=WIDTH).astype(np.float32)
    videos = [video_of(n, n < train, n % 2 == 1, class_name) for n in range(train + test)]
    dataset = Dataset(name=name, root=Path(), videos=tuple(videos), class_names=("normal", class_name))
    featured = {}
    for video in videos:
        windows = rng.normal(scale=0.3, size=(FRAMES, WINDOWS, WIDTH)).astype(np.float32)
        motion = rng.random((FRAMES, WINDOWS)).astype(np.float32) * 0.1
        if not video.is_normal:
            windows[FRAMES // 3 : 2 * FRAMES // 3, :3] += direction
            motion[FRAMES // 3 : 2 * FRAMES // 3, :3] += 0.2
        x_clip = windows.mean(axis=1)
        features = VideoFeatures(
            origin=ORIGIN, seconds_between_samples=0.4, x_clip=x_clip, x_as=windows[:, :12].mean(axis=1),
            motion=motion, windows=windows,
        )  # fmt: skip
        featured[video.name] = FeaturedVideo(video=video, features=features, frame_count=FRAMES * STRIDE)
    vocabulary = load_vocabulary(Path("benchmarks/surv_fight.toml"))
    return FeaturedDataset(dataset=dataset, vocabulary=vocabulary, videos=featured)


def video_of(number: int, trains: bool, abnormal: bool, class_name: str) -> LabelledVideo:
    """Without a file."""
    ranges = ((FRAMES // 3 * STRIDE, 2 * FRAMES // 3 * STRIDE),) if abnormal else ()
    return LabelledVideo(
        path=Path(f"{number}.mp4"), name=str(number), label=class_name if abnormal else "normal",
        split="train" if trains else "test", frame_ranges=ranges,
    )  # fmt: skip
