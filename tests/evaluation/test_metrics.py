"""Metrics against cases worked by hand, scikit-learn, and a picture drawn pixel by pixel."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.evaluation import metrics as m
from stprompt_edge.runtime.alarm import AlarmSettings

ON = AlarmSettings(threshold_on=0.5, threshold_off=0.5)


@pytest.mark.parametrize(
    ("scores", "stride", "frames", "held"),
    [
        ([], 4, 0, []),
        ([0.5], 1, 1, [0.5]),
        ([0.5], 4, 1, [0.5]),
        ([0.1, 0.2], 2, 3, [0.1, 0.1, 0.2]),
        ([0.1, 0.2], 2, 4, [0.1, 0.1, 0.2, 0.2]),
    ],
)
def test_a_score_is_held_for_its_stride(scores: list[float], stride: int, frames: int, held: list[float]) -> None:
    assert m.hold_scores(scores, stride, frames).tolist() == held


@pytest.mark.parametrize("frames", [2, 5])
def test_a_score_too_many_or_too_few_is_refused(frames: int) -> None:
    with pytest.raises(UsageError, match=r"2 scores for . frames at stride 2, expected"):
        m.hold_scores([0.1, 0.2], 2, frames)


@pytest.mark.parametrize(
    ("labels", "scores", "auc", "ap"),
    [
        ([0, 1], [0.1, 0.9], 1.0, 1.0),
        ([0, 1], [0.9, 0.1], 0.0, 0.5),
        ([0, 1], [0.5, 0.5], 0.5, 0.5),  # a tie counts half
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75, (1 + 2 / 3) / 2),  # pairs won: 3 of 4
    ],
)
def test_auc_and_ap_by_hand(labels: list[int], scores: list[float], auc: float, ap: float) -> None:
    pytest.importorskip("sklearn")
    assert m.auc(labels, scores) == pytest.approx(auc)
    assert m.average_precision(labels, scores) == pytest.approx(ap)


def test_frames_of_all_videos_count_together() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = [rng.random(n) < 0.3 for n in (5, 40, 17)]
    scores = [rng.random(n) for n in (5, 40, 17)]
    together = np.concatenate(labels), np.concatenate(scores)
    assert m.frame_auc(labels, scores) == metrics.roc_auc_score(*together)
    assert m.frame_ap(labels, scores) == metrics.average_precision_score(*together)
    curve = m.roc(*together)
    x, y = curve.false_positive_rate, curve.true_positive_rate
    assert (np.diff(x) * (y[1:] + y[:-1]) / 2).sum() == pytest.approx(m.auc(*together))


def test_auc_per_class_takes_all_normal_videos() -> None:
    pytest.importorskip("sklearn")
    classes = ["fire", "normal", "fall", "fire"]
    labels = [[1, 1], [0, 0], [0, 1], [1, 0]]
    scores = [[0.9, 0.8], [0.1, 0.3], [0.5, 0.2], [0.7, 0.0]]
    # fall: 0.2 against 0.1, 0.3, 0.5; fire: all three above all three normal frames
    assert m.class_auc(classes, labels, scores) == {"fall": pytest.approx(1 / 3), "fire": 1.0}
    with pytest.raises(UsageError, match=r"class 'fire': 2 abnormal and 0 normal frames"):
        m.class_auc(["fire"], [[1, 1]], [[0.1, 0.2]])
    with pytest.raises(UsageError, match=r"1 classes, 2 label arrays and 2 score arrays"):
        m.class_auc(["fire"], labels[:2], scores[:2])


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "0 abnormal and 0 normal frames"),
        ([0, 0], [0.1, 0.2], "0 abnormal and 2 normal frames"),
        ([1], [0.1], "1 abnormal and 0 normal frames"),
        ([0, 1], [0.1], r"\(2,\) labels and \(1,\) scores"),
        ([0, 1], [0.1, math.nan], "not all finite"),
        ([0, 1], [[0.1, 0.2]], r"shape \(1, 2\)"),
    ],
)
def test_what_has_no_curve_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    for metric in (m.auc, m.average_precision, m.roc):
        with pytest.raises(UsageError, match=message):
            metric(labels, scores)


def test_wrong_lengths_of_two_videos_do_not_make_up_for_each_other() -> None:
    with pytest.raises(UsageError, match=r"video 0: labels \(1,\) and scores \(2,\)"):
        m.frame_auc([[0], [1, 1]], [[0.1, 0.2], [0.3]])
    with pytest.raises(UsageError, match=r"labels of 0 videos and scores of 0"):
        m.frame_ap([], [])


def test_a_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(EnvironmentFailure, match=r'pip install "stprompt-edge\[train\]"'):
        m.auc([0, 1], [0.1, 0.2])


@pytest.mark.parametrize(
    ("predicted", "true", "iou"),
    [
        ([], [[0, 0, 2, 2]], 0.0),
        ([[0, 0, 2, 2]], [[0, 0, 2, 2]], 1.0),
        ([[5, 5, 9, 9]], [[0, 0, 2, 2]], 0.0),
        ([[2, 0, 4, 2]], [[0, 0, 2, 2]], 0.0),  # they touch
        ([[1, 0, 3, 2]], [[0, 0, 2, 2]], 2 / 6),
        ([[0, 0, 1, 2], [1, 0, 2, 2]], [[0, 0, 2, 2]], 1.0),  # two halves make the whole
        ([[0, 0, 2, 2], [0, 0, 2, 2]], [[0, 0, 2, 2]], 1.0),  # an area, so twice is once
        ([[0, 0, 0.5, 1]], [[0, 0, 1, 1]], 0.5),  # between pixels
        ([[0, 0, 4, 4]], [[0, 0, 2, 2], [2, 2, 4, 4]], 0.5),
    ],
)
def test_iou_of_boxes_by_hand(predicted: list, true: list, iou: float) -> None:
    assert m.box_iou(predicted, true) == pytest.approx(iou)


BOXES = st.lists(st.tuples(*[st.integers(0, 8)] * 4), min_size=1, max_size=4).map(
    lambda boxes: [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in boxes]
)


@given(BOXES, BOXES)
def test_iou_of_boxes_equals_that_of_drawn_masks(predicted: list, true: list) -> None:
    drawn = np.zeros((2, 9, 9), bool)
    for mask, boxes in zip(drawn, (predicted, true), strict=True):
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = True
    assert m.box_iou(predicted, true) == pytest.approx(m.mask_iou(*drawn))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 1]], r"shape \(1, 3\)"),
        ([0, 0, 1, 1], r"shape \(4,\)"),
        ([[0, 0, math.nan, 1]], "not finite"),
        ([[2, 0, 1, 1]], "reversed"),
    ],
)
def test_boxes_that_are_none_are_refused(boxes: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        m.box_iou(boxes, [[0, 0, 1, 1]])


def test_an_empty_truth_is_refused() -> None:
    for true in ([], [[1, 1, 1, 5]]):
        with pytest.raises(UsageError, match=r"the true area is empty"):
            m.box_iou([[0, 0, 1, 1]], true)
    with pytest.raises(UsageError, match=r"the true area is empty"):
        m.mask_iou(np.ones((2, 2)), np.zeros((2, 2)))
    with pytest.raises(UsageError, match=r"masks of \(2, 2\) and \(2, 3\)"):
        m.mask_iou(np.ones((2, 2)), np.ones((2, 3)))


def test_boxes_are_scaled_per_axis() -> None:
    assert m.scale_boxes([[10, 20, 30, 40]], (320, 240), (640, 120)).tolist() == [[20, 10, 60, 20]]
    assert m.scale_boxes([], (320, 240), (640, 120)).shape == (0, 4)


def test_tiou_by_hand() -> None:
    first = ([0.5, 1.0, 0.8], [0.5, 0.49, 0.9])  # 0.5 counts, 0.49 does not: (0.5 + 0 + 0.8) / 3
    second = ([0.2], [1.0])
    assert m.video_tiou(*first) == pytest.approx(1.3 / 3)
    assert m.tiou([first, second]) == pytest.approx((1.3 / 3 + 0.2) / 2)  # videos weigh the same, whatever their length
    assert m.tiou([first], threshold=0.0) == pytest.approx(2.3 / 3)


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([], "no video has boxes or masks"),
        ([([], [])], "TIoU of 0 IoUs and 0 scores"),
        ([([0.1], [0.1, 0.2])], "TIoU of 1 IoUs and 2 scores"),
        ([([math.nan], [0.1])], "not all finite"),
    ],
)
def test_tiou_of_nothing_is_refused(videos: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        m.tiou(videos)


@pytest.mark.parametrize(
    ("scores", "start", "end", "min_seconds", "expected"),
    [
        ([0, 0, 1, 1, 0], 1.5, math.inf, 0.0, 0.5),
        ([0, 0, 1, 1, 0], 2.0, math.inf, 0.0, 0.0),
        ([0, 0, 1, 1, 0], 1.5, math.inf, 1.0, 1.5),  # held for a second first
        ([0, 0, 1, 1, 0], 0.0, 2.0, 0.0, math.inf),  # on only when it is over
        ([0, 0, 0, 0, 0], 1.0, math.inf, 0.0, math.inf),
        ([1, 1, 1, 0, 0], 1.5, math.inf, 0.0, 0.5),  # on before, and still on
        ([1, 0, 0, 0, 0], 1.5, math.inf, 0.0, math.inf),  # a false alarm before does not count
        ([1], 0.0, math.inf, 0.0, 0.0),
    ],
)
def test_time_to_alarm_by_hand(
    scores: list[float], start: float, end: float, min_seconds: float, expected: float
) -> None:
    settings = AlarmSettings(threshold_on=0.5, threshold_off=0.5, min_seconds=min_seconds)
    got = m.time_to_alarm(scores, range(len(scores)), settings, start_seconds=start, end_seconds=end)
    assert got == expected


def test_a_score_that_needs_later_frames_gives_a_later_alarm() -> None:
    known = [1.0, 2.0, 3.5, 4.0]  # one frame later, the third one late
    assert m.time_to_alarm([0, 0, 1, 1], range(4), ON, start_seconds=1.5, known_seconds=known) == 2.0
    assert m.time_to_alarm([0, 0, 0, 0], range(4), ON, start_seconds=1.5, known_seconds=known) == math.inf
    for end, expected in ((3.5, math.inf), (3.6, 2.0)):  # known when it is over, or just before
        late = m.time_to_alarm([0, 0, 1, 1], range(4), ON, start_seconds=1.5, end_seconds=end, known_seconds=known)
        assert late == expected


@pytest.mark.parametrize(("states", "count"), [([], 0), ([1], 1), ([0, 1, 1, 0, 1], 2), ([1, 0, 1], 2), ([0, 0], 0)])
def test_alarms_are_counted_where_they_go_on(states: list[int], count: int) -> None:
    assert m.alarm_count(states) == count


def test_times_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match=r"anomaly from 2 to 2 s"):
        m.time_to_alarm([1], [0], ON, start_seconds=2, end_seconds=2)
    for seconds in ([0.0], [0.0, 0.0], [1.0, 0.5]):
        with pytest.raises(UsageError, match=r"2 scores at . times, or times that do not rise"):
            m.alarm_states([0, 1], seconds, ON)


def test_false_alarms_per_hour_by_hand() -> None:
    scores = [[0.6, 0.2, 0.9, 0.9], [0.1, 0.7], []]
    seconds = [[0, 1, 2, 3], [0, 1], []]
    settings = m.settings_over([0.05, 0.5, 0.65, 0.95])
    rates = m.false_alarms_per_hour(scores, seconds, [1200.0, 600.0, 0.0], settings)
    assert rates.tolist() == [4.0, 6.0, 4.0, 0.0]  # 2, 3, 2 and 0 in half an hour
    held = m.settings_over([0.5], off_ratio=0.2)  # 0.2 does not end it
    assert m.false_alarms_per_hour(scores, seconds, [1200.0, 600.0, 0.0], held).tolist() == [4.0]


@pytest.mark.parametrize("durations", [[], [0.0], [math.nan], [math.inf], [1.0, 1.0]])
def test_no_normal_footage_is_refused(durations: list[float]) -> None:
    with pytest.raises(UsageError, match=r"hours of normal footage in 1 videos"):
        m.false_alarms_per_hour([[0.1]], [[0.0]], durations, [ON])


def test_thresholds_outside_0_to_1_are_refused() -> None:
    with pytest.raises(UsageError, match=r"0 <= off <= on <= 1"):
        m.settings_over([1.5])
