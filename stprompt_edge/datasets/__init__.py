"""Every data set in one typed form: videos with label, split and, where annotated, its truth per frame. No torch."""

from stprompt_edge.datasets.clip_features import CLIP_FEATURES, is_feature_list, load_clip_features
from stprompt_edge.datasets.loading import AUTO, FORMATS, check_trainable, detect_format, load_dataset
from stprompt_edge.datasets.masks import load_masks
from stprompt_edge.datasets.ped2 import ped2_weak_split
from stprompt_edge.datasets.reading import ABNORMAL_REMEDY, row_of_label
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import ABNORMAL, TEST, TRAIN

__all__ = [
    "ABNORMAL",
    "ABNORMAL_REMEDY",
    "AUTO",
    "CLIP_FEATURES",
    "FORMATS",
    "TEST",
    "TRAIN",
    "Dataset",
    "LabelledVideo",
    "check_trainable",
    "detect_format",
    "is_feature_list",
    "load_clip_features",
    "load_dataset",
    "load_masks",
    "ped2_weak_split",
    "row_of_label",
]
