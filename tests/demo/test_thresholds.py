from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo import bundle as demo_bundle
from demo.thresholds import LocatedWindows, choose_alarm, choose_localization, located_windows
from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.datasets import Dataset, LabelledVideo
from stprompt_edge.errors import UsageError
from stprompt_edge.evaluation.operating import Footage
from stprompt_edge.evaluation.records import Anomaly, ScoredVideo
from stprompt_edge.export import Model
from stprompt_edge.runtime.alarm import AlarmSettings
from stprompt_edge.runtime.backends.base import Encoded
from stprompt_edge.runtime.backends.fake import FakeBackend
from tests.videos import write_video


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


# from videos

SIZE_WH = (224, 112)  # half as high as the 224 x 224 frame
HOT, WHERE = 24, (96, 48, 128, 64)  # a fine window, and where it is in the video


class OneHotWindow(FakeBackend):
    """All windows look like the first normal phrase, but one like the first abnormal one."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._text = bundle.text

    def encode(self, image: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> Encoded:
        normal, abnormal = self._text.normal_phrases[0], self._text.abnormal_phrases[0]
        found = super().encode(image, fine, coarse)
        windows = np.where(fine[..., None] == HOT, abnormal, normal)
        return Encoded(frame=found.frame, fine=windows, coarse=np.broadcast_to(normal, found.coarse.shape))


@pytest.fixture
def video(tmp_path: Path) -> LabelledVideo:
    """Boxes in frames 4, 5, 8 and 40; every fourth is sampled, and the last one is not there."""
    path = write_video(tmp_path / "a.mp4", frames=14, size_wh=SIZE_WH)
    boxes = {4: (WHERE,), 5: (WHERE,), 8: (WHERE, (0, 0, 9, 9)), 40: (WHERE,)}
    return LabelledVideo(path=path, name="a", label="fighting", split="train", boxes=boxes, boxes_size_wh=SIZE_WH)


def test_the_annotated_sampled_frames_of_a_video_with_all_their_windows(bundle, video):
    assert bundle.manifest.method.stride == 4
    backend = OneHotWindow(bundle)
    first, second = located_windows(video, bundle, backend)
    assert backend.encoded == [(49, 16)] * 2
    assert (first.video, first.size_wh) == ("a", SIZE_WH)
    assert [frame.true_xyxy.tolist() for frame in (first, second)] == [[[*WHERE]], [[*WHERE], [0, 0, 9, 9]]]
    for frame in (first, second):
        assert (frame.fine.shape, frame.coarse.shape) == ((49,), (16,))
        assert frame.fine.argmax() == HOT
        assert frame.fine[HOT] > 10 * np.delete(frame.fine, HOT).max()
        np.testing.assert_allclose(frame.coarse, frame.fine[0], rtol=1e-3)


def test_a_video_without_boxes_has_no_located_windows(bundle, video):
    normal = LabelledVideo(path=video.path, name="b", label="normal", split="train")
    assert list(located_windows(normal, bundle, OneHotWindow(bundle))) == []


def test_a_model_gets_what_is_chosen_on_the_calibration_videos(bundle, video, tmp_path, monkeypatch):
    data = Dataset(name="d", root=tmp_path, videos=(video,), class_names=("normal", "fighting"))
    anomaly = Anomaly(start_seconds=2.0, end_seconds=8.0)
    scores = [
        scored("quiet", "normal", [0.1, 0.2, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1], ()),
        scored("fight", "fighting", [0.1, 0.1, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7], (anomaly,)),
    ]
    asked = []
    monkeypatch.setattr(demo_bundle, "load_dataset", lambda path, kind: asked.append(path) or data)
    opened = SimpleNamespace(backend=OneHotWindow(bundle))
    monkeypatch.setattr(demo_bundle, "open_backend", lambda name, draft: opened)
    monkeypatch.setattr(
        demo_bundle, "evaluate_bundle", lambda *given: asked.append(given) or SimpleNamespace(videos=scores)
    )
    model = Model(clip=None, vocabulary=bundle.vocabulary, method=bundle.manifest.method, training={"epochs": 1})
    calibrated = demo_bundle.calibrate(model, bundle, tmp_path, 3)
    path, (draft, videos, settings) = asked
    assert path == tmp_path / "calibration"
    assert (draft, videos) == (bundle, data)
    assert (settings.streaming, settings.split, settings.processes) == (True, "train", 3)  # as at the edge
    expected, iou = choose_localization(bundle, list(located_windows(video, bundle, OneHotWindow(bundle))))
    assert calibrated.localization == expected
    assert calibrated.localization.fine_weight > 0
    assert iou > 0.3
    assert calibrated.alarm == choose_alarm(scores, bundle.manifest.method)
    assert 0.2 < calibrated.alarm.threshold_on <= 0.7
    assert (calibrated.method, calibrated.training) == (model.method, {"epochs": 1})
