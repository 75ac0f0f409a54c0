"""UCSD Ped2 (Mahadevan et al. 2010): `ROOT/train/*.mp4` all normal, `ROOT/test/NN.mp4`, `ROOT/masks/NN.npz`.

Frame ranges follow from the masks: a frame is abnormal when a pixel of it is. The data set has no abnormal training
video; `ped2_weak_split` makes the splits of the weakly supervised protocol, `load_ped2_weak` those of seed 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stprompt_edge.datasets.masks import load_masks
from stprompt_edge.datasets.reading import (
    Labels,
    is_picture_folder,
    is_video,
    ranges_of_frames,
    sorted_entries,
)
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import ABNORMAL, SPLITS, TEST
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import NORMAL_CLASS, Vocabulary

# videos for training in the weakly supervised protocol (He et al. 2018, Zhong et al. 2019); all others are for testing
WEAK_TRAIN_ABNORMAL, WEAK_TRAIN_NORMAL = 6, 4
WEAK_SEED = 0  # of the format `ped2-weak`; papers average over repeats, which `ped2_weak_split` makes


def load_ped2(root: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads videos and masks.

    Raises:
        UsageError: no videos, a test video without a mask or with one that cannot be read; a vocabulary without the
            class `abnormal`, for Ped2 does not say what happens.
    """
    labels = Labels(vocabulary)
    videos = []
    for split in SPLITS:
        for path in sorted_entries(root / split):
            if not (is_video(path) or is_picture_folder(path)):
                continue
            masks = root / "masks" / f"{path.stem}.npz" if split == TEST else None
            ranges = () if masks is None else ranges_of_frames(np.any(load_masks(masks), axis=(1, 2)))
            label = labels.label(ABNORMAL if ranges else NORMAL_CLASS, path)
            videos.append(
                LabelledVideo(
                    path=path, name=f"{split}/{path.name}", label=label, split=split, frame_ranges=ranges, masks=masks
                )
            )
    return Dataset(name="ped2", root=root, videos=tuple(videos), class_names=labels.class_names)


def load_ped2_weak(root: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """The format `ped2-weak`: 10 videos train and 18 test, one fixed repeat of the weakly supervised protocol.

    Raises:
        UsageError: as `load_ped2` and `ped2_weak_split`.
    """
    return ped2_weak_split(load_ped2(root, vocabulary), WEAK_SEED)


def ped2_weak_split(dataset: Dataset, seed: int) -> Dataset:
    """One random repeat of the weakly supervised protocol: 6 abnormal and 4 normal videos train, the rest test.

    Args:
        dataset: Ped2, or any data set with more videos than that of either kind; its own splits do not matter.
        seed: chooses the videos; the same seed gives the same split.

    Raises:
        UsageError: too few videos of either kind to have some of it left for the test.
    """
    rng = np.random.default_rng(seed)
    train: list[str] = []
    for kind, wanted in ((ABNORMAL, WEAK_TRAIN_ABNORMAL), (NORMAL_CLASS, WEAK_TRAIN_NORMAL)):
        names = sorted(video.name for video in dataset.videos if video.is_normal == (kind == NORMAL_CLASS))
        if len(names) <= wanted:
            what = f"data set '{dataset.name}' has {len(names)} {kind} videos, the protocol trains on {wanted}"
            raise UsageError(what, remedy=f"give it more than {wanted}, so that some are left for the test")
        train += [names[index] for index in rng.choice(len(names), wanted, replace=False)]
    return dataset.with_splits(train)
