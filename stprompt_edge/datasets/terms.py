"""The words that all readers of data sets share."""

from __future__ import annotations

TRAIN, TEST = "train", "test"
SPLITS = (TRAIN, TEST)
ABNORMAL = "abnormal"  # the label of a video whose data set says that something happens, but not what

FrameRange = tuple[int, int]  # first, last + 1
Box = tuple[float, float, float, float]
