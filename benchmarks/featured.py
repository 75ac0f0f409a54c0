"""Videos of a data set with their features in memory, all windows kept; extracted once under build/benchmarks.

Suffixes: T sampled frames, F camera frames, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import ROOT, console, reference_bundle
from demo.bundle import WORK
from stprompt_edge.bundle import ENCODER_NAMES, load_bundle
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.datasets import Dataset, LabelledVideo, load_dataset
from stprompt_edge.errors import UsageError
from stprompt_edge.features.extraction import ExtractionSettings, Listener, extract_dataset, feature_path
from stprompt_edge.features.files import load_features
from stprompt_edge.features.index import FeatureVideo
from stprompt_edge.features.records import VideoFeatures
from stprompt_edge.features.segments import segment_means
from stprompt_edge.model.clip import DEMO_MODEL, DEMO_TAG, Clip, load_clip
from stprompt_edge.runtime.sources import expected_frames
from stprompt_edge.vocabulary import Vocabulary, load_vocabulary

BUILD = ROOT / "build" / "benchmarks"
DEMO = ROOT / WORK
DATA = ROOT.parent / "shared" / "data"
PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """What makes features: a bundle without heads, and the CLIP that it was exported from.

    Raises:
        UsageError: if its files are not there yet.
    """

    name: str

    @property
    def bundle(self) -> Path:
        """The bundle that extraction runs."""
        return reference_bundle().path if self.name == "vit-b-16-seeded" else _made(DEMO / "encoder")

    @property
    def key(self) -> str:
        """Its name and what its weights are: a demo encoder made anew makes features anew."""
        digest = load_bundle(self.bundle).manifest.files[ENCODER_NAMES["cpu8"]].sha256
        return f"{self.name}-{digest[:8]}"

    def clip(self) -> Clip:
        """The same encoder in torch; training needs its text side."""
        if self.name == "vit-b-16-seeded":
            return load_clip("ViT-B-16-quickgelu", "none", seed=0)
        return load_clip(DEMO_MODEL, DEMO_TAG)


DEMO_ENCODER, SEEDED_ENCODER = Encoder(name="demo"), Encoder(name="vit-b-16-seeded")


@dataclass(frozen=True, kw_only=True)
class FeaturedVideo:
    """One video: annotation, features of all sampled frames and windows, and its length."""

    video: LabelledVideo
    features: VideoFeatures
    frame_count: int  # F

    @property
    def name(self) -> str:
        """Unique in its data set."""
        return self.video.name

    @property
    def stride(self) -> int:
        """Camera frames per sampled frame."""
        return self.features.origin.stride

    @property
    def frame_labels(self) -> NDArray[np.bool_]:
        """[F], True where a frame is abnormal."""
        return self.video.frame_labels(self.frame_count)

    @property
    def windows(self) -> NDArray[np.float32]:
        """[T, N, D]."""
        assert self.features.windows is not None  # the only way they are extracted here
        return self.features.windows

    def for_training(self, label: int, x_as: NDArray[np.float32] | None = None, segments: int = 0) -> FeatureVideo:
        """As training sees it, with another x_as where one is given, and segments where some are asked for."""
        return FeatureVideo(
            name=self.name,
            label=label,
            x_clip=self.features.x_clip,
            x_as=self.features.x_as if x_as is None else x_as,
            segments=segment_means(self.windows, len(self.windows), segments) if segments else None,
        )


@dataclass(frozen=True, kw_only=True)
class FeaturedDataset:
    """Videos by name, and the vocabulary that their labels belong to."""

    dataset: Dataset
    vocabulary: Vocabulary
    videos: dict[str, FeaturedVideo]

    def of_split(self, split: str, dataset: Dataset | None = None) -> list[FeaturedVideo]:
        """Videos of `train` or `test`; of another division of the same videos where one is given."""
        return [self.videos[video.name] for video in (dataset or self.dataset).of_split(split)]

    def label(self, video: FeaturedVideo) -> int:
        """Row in the vocabulary's class names."""
        return self.vocabulary.row_of_label(video.video.label)


def scenes() -> FeaturedDataset:
    """The rendered scenes with the features that `make demo-bundle` leaves."""
    vocabulary = load_vocabulary("scenes")
    dataset = load_dataset(_made(DEMO / "scenes"), vocabulary=vocabulary)
    return read_featured(dataset, _made(DEMO / "features"), vocabulary)


def real(name: str, encoder: Encoder, stride: int) -> FeaturedDataset:
    """A folder of ../shared/data with the vocabulary beside this file or the shipped one; extracted on first use.

    Raises:
        UsageError: the data set or the encoder is not there.
    """
    beside = Path(__file__).with_name(f"{name}.toml")
    vocabulary = load_vocabulary(beside if beside.is_file() else name)
    dataset = load_dataset(DATA / name, vocabulary=vocabulary)
    out = BUILD / f"{name}-{stride}-{encoder.key}"
    if not all(feature_path(out, video).exists() for video in dataset.videos):  # several processes come here at once
        settings = ExtractionSettings(bundle=encoder.bundle, stride=stride, keep_windows=True, processes=PROCESSES)
        with live_steps(console) as progress:
            extract_dataset(dataset, out, settings, Listener(progress=progress))
    return read_featured(dataset, out, vocabulary)


def read_featured(dataset: Dataset, folder: Path, vocabulary: Vocabulary) -> FeaturedDataset:
    """A data set with the features of its videos.

    Raises:
        UsageError: features without windows, or of a video with another number of frames.
    """
    found = (_read(video, feature_path(folder, video)) for video in dataset.videos)
    return FeaturedDataset(dataset=dataset, vocabulary=vocabulary, videos={video.name: video for video in found})


def _read(video: LabelledVideo, path: Path) -> FeaturedVideo:
    features, frames = load_features(path), expected_frames(video.path) or 0
    stride = features.origin.stride
    if features.windows is None or -(-frames // stride) != len(features.x_clip):
        what = f"{path} holds no windows, or not one row for each of {frames} frames at stride {stride}"
        raise UsageError(what, remedy=f"remove {path.parent} and run this again")
    return FeaturedVideo(video=video, features=features, frame_count=frames)


def _made(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"{path} is not there", remedy="make it first: make demo-bundle")
    return path


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What is not there ends the program with one line and its exit code."""
    try:
        yield
    except UsageError as error:
        console.print(f"{error.what}; {error.remedy}", style="red", soft_wrap=True)
        sys.exit(error.exit_code)
