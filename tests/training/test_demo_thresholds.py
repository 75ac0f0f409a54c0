import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.alarm import AlarmSettings
from stprompt_edge.training.demo_thresholds import LocatedWindows, choose_alarm, choose_localization
from stprompt_edge.training.evaluation.operating import Footage
from stprompt_edge.training.evaluation.records import Anomaly, ScoredVideo


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
    where = (96, 96, 128, 128)  # fine window 24, which no coarse one sees
    fine, iou = choose_localization(bundle, [frame({24: 0.9}, dict.fromkeys(range(16), 0.0), where)])
    coarse, _ = choose_localization(bundle, [frame(dict.fromkeys(range(49), 0.5), {0: 0.9}, (0, 0, 64, 64))])
    assert fine.fine_weight > coarse.fine_weight
    assert iou > 0.5


def test_no_annotated_frame_is_refused(bundle):
    with pytest.raises(UsageError, match="no calibration video has boxes"):
        choose_localization(bundle, [])


def scored(name: str, label: str, scores: list[float], anomalies: tuple[Anomaly, ...]) -> ScoredVideo:
    samples = np.array(scores)
    return ScoredVideo(
        name=name,
        label=label,
        stride=8,
        fps=8.0,
        frame_count=8 * len(samples),
        duration_seconds=float(len(samples)),
        seconds=np.arange(len(samples), dtype=np.float64),
        scores={0: samples},
        anomalies=anomalies,
    )


def test_a_threshold_above_what_normal_videos_reach_for_long(bundle):
    anomaly = Anomaly(start_seconds=2.0, end_seconds=8.0)
    videos = [
        scored("quiet", "normal", [0.1, 0.9, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1], ()),  # a spike, not held for a second
        scored("fight", "fighting", [0.1, 0.1, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7], (anomaly,)),
    ]
    alarm = choose_alarm(videos, bundle.manifest.method)
    assert alarm.min_seconds > 0
    assert 0.2 < alarm.threshold_on <= 0.7
    noisy = scored("noisy", "normal", [1.0] * 8, ())
    with pytest.raises(UsageError, match="within the budget"):
        choose_alarm([*videos, noisy], bundle.manifest.method)


@pytest.mark.parametrize(("normal", "abnormal"), [(0.72344, 0.72345), (0.99996, 0.99997)])
def test_a_threshold_between_close_peaks_still_tells_them_apart(bundle, normal, abnormal):
    anomaly = Anomaly(start_seconds=2.0, end_seconds=8.0)
    videos = [
        scored("quiet", "normal", [normal] * 8, ()),
        scored("fight", "fighting", [0.1, 0.1] + [abnormal] * 6, (anomaly,)),
    ]
    alarm = choose_alarm(videos, bundle.manifest.method)
    assert normal < alarm.threshold_on <= abnormal
    point = Footage(videos, 0, 0).point(AlarmSettings.from_bundle(alarm))
    assert (point.false_alarms, point.detected) == (0, 1)
