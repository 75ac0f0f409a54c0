import dataclasses

import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.training.demo_thresholds import LocatedWindows, choose_alarm, choose_localization
from stprompt_edge.training.evaluation.records import AlarmFigures, OperatingPoint

POINT = OperatingPoint(
    threshold_on=0.61234567,
    threshold_off=0.5,
    false_alarms=0,
    false_alarms_per_hour=0.0,
    normal_alarm_share=0.0,
    detected=1,
    missed=0,
    detected_share=1.0,
    missed_share=0.0,
    median_seconds=1.0,
    lower_quartile_seconds=1.0,
    upper_quartile_seconds=1.0,
)
FIGURES = AlarmFigures(
    normal_hours=1.0, normal_videos=1, anomalies=1, timed=True, score_delay_samples=1, own=POINT, best=POINT, curve=()
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(DEMO_BUNDLE)


def frame(fine: dict[int, float], coarse: dict[int, float], true: tuple[int, int, int, int]) -> LocatedWindows:
    heat = np.zeros(49, np.float32), np.zeros(16, np.float32)
    for array, hot in zip(heat, (fine, coarse), strict=True):
        for window, value in hot.items():
            array[window] = value
    return LocatedWindows(
        video="a", fine=heat[0], coarse=heat[1], size_wh=(224, 224), true_xyxy=np.array([true], np.float64)
    )


def test_the_windows_that_find_the_anomaly_get_the_weight(bundle):
    where = (96, 96, 128, 128)  # fine window 24; coarse windows see it nowhere, or everywhere
    localization, iou = choose_localization(bundle, [frame({24: 0.9}, dict.fromkeys(range(16), 0.9), where)])
    assert localization.fine_weight == 1.0
    assert iou > 0.8
    coarse, _ = choose_localization(bundle, [frame(dict.fromkeys(range(49), 0.9), {0: 0.9}, (0, 0, 64, 64))])
    assert coarse.fine_weight < 1.0


def test_no_annotated_frame_is_refused(bundle):
    with pytest.raises(UsageError, match="no calibration video has boxes"):
        choose_localization(bundle, [])


def test_the_best_point_becomes_the_alarm():
    alarm = choose_alarm(FIGURES)
    assert (alarm.threshold_on, alarm.threshold_off) == (0.6123, 0.5)
    with pytest.raises(UsageError, match="within the budget"):
        choose_alarm(dataclasses.replace(FIGURES, best=None))
