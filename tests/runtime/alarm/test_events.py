"""The life of events: their spans, their changes in order, and ids that sort by time."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from stprompt_edge.runtime.alarm import MAX_EVENT_FRAMES, EventLife
from stprompt_edge.runtime.records import AlarmChange, Box, Detection, Event, Localization

BOX = Box(x0=0, y0=0, x1=2, y1=2, probability=0.9)
NOON = 1_790_000_000.0  # seconds since 1970


def detection(index: int, score: float, alarm: bool, boxes: tuple[Box, ...] | None = None) -> Detection:
    heat = np.zeros((14, 14), np.float32)
    return Detection(
        frame_index=index * 4,
        seconds=index / 2,
        score=score,
        class_probabilities=np.array([1 - score, score], np.float32),
        top_class=f"class at {index}",
        top_probability=score,
        alarm=alarm,
        localization=None if boxes is None else Localization(heat_map=heat, boxes=boxes),
    )


def changes(alarms: str, scores: list[float] | None = None) -> list[list[AlarmChange]]:
    """Those of each detection, a second apart, and those of the end."""
    life, found = EventLife("door"), []
    for i, mark in enumerate(alarms):
        found.append(life.update(detection(i, scores[i] if scores else 0.5, mark == "#"), NOON + i))
    return [*found, life.finish(len(alarms) / 2, NOON + len(alarms))]


def events(alarms: str, scores: list[float] | None = None) -> list[Event]:
    return [change.event for some in changes(alarms, scores) for change in some if change.kind == "closed"]


@pytest.mark.parametrize(
    ("alarms", "spans"),
    [
        ("", []),
        (".", []),
        ("#", [(0, 0)]),  # the stream ends while the alarm is on
        ("#.", [(0, 0)]),
        (".##.", [(1, 2)]),
        ("#..##", [(0, 0), (3, 4)]),
        ("####", [(0, 3)]),
    ],
)
def test_events_span_the_frames_with_the_alarm_on(alarms: str, spans: list[tuple[int, int]]) -> None:
    found = events(alarms)
    assert [(e.start_frame // 4, e.end_frame // 4) for e in found] == spans
    assert [(e.start_seconds * 2, e.end_seconds * 2) for e in found] == spans
    assert [len(e.frames) for e in found] == [last - first + 1 for first, last in spans]


def test_an_event_tells_of_its_first_highest_score() -> None:
    (event,) = events("###", [0.6, 0.9, 0.9])
    assert (event.peak_frame, event.peak_seconds, event.peak_score) == (4, 0.5, 0.9)
    assert (event.top_class, event.top_probability) == ("class at 1", 0.9)


def test_an_event_ends_with_the_detection_after_it_and_only_once() -> None:
    life = EventLife("door")
    assert [change.kind for change in life.update(detection(0, 0.9, True, (BOX,)), NOON)] == ["opened"]
    assert life.update(detection(1, 0.9, True), NOON + 1) == []
    (change,) = life.update(detection(2, 0.1, False), NOON + 2)
    assert (change.kind, change.seconds) == ("closed", 1.0)
    assert [frame.boxes for frame in change.event.frames] == [(BOX,), ()]
    assert life.finish(1.0, NOON + 3) == []


@pytest.mark.parametrize(
    ("alarms", "scores", "kinds"),
    [
        ("", [], [[]]),
        (".#.", [0.1, 0.6, 0.1], [[], ["opened"], ["closed"], []]),
        ("##", [0.6, 0.6], [["opened"], [], ["closed"]]),  # the same score is no new peak
        ("###.", [0.6, 0.9, 0.7, 0.1], [["opened"], ["updated"], [], ["closed"], []]),
        ("#.#", [0.6, 0.1, 0.6], [["opened"], ["closed"], ["opened"], ["closed"]]),
    ],
)
def test_changes_come_in_order_and_an_update_is_a_new_peak(
    alarms: str, scores: list[float], kinds: list[list[str]]
) -> None:
    found = changes(alarms, scores)
    assert [[change.kind for change in some] for some in found] == kinds
    for number, some in enumerate(found):
        for change in some:
            assert change.event.camera == "door"
            assert change.at.timestamp() == NOON + number
            assert change.event.started_at.tzinfo is not None
            assert change.event.peak_score == max(
                score for score, i in zip(scores, range(len(alarms)), strict=True)
                if change.event.start_frame <= 4 * i <= change.event.end_frame
            )  # fmt: skip
            assert bool(change.event.frames) == (change.kind == "closed")


def test_all_changes_of_an_event_have_its_id_and_ids_sort_by_time() -> None:
    found = [change for some in changes("##.#..#", [0.6, 0.9, 0.1, 0.6, 0.1, 0.1, 0.7]) for change in some]
    ids = [change.event.id for change in found]
    assert ids == [ids[0]] * 3 + [ids[3]] * 2 + [ids[5]] * 2
    assert ids[0] < ids[3] < ids[5]
    for each, at in zip(sorted(set(ids)), (NOON, NOON + 3, NOON + 6), strict=True):
        parsed = uuid.UUID(each)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert parsed.int >> 80 == at * 1000
    (other,) = EventLife("gate").update(detection(0, 0.9, True), NOON)
    assert other.event.id not in ids


def test_ids_sort_by_time_when_the_wall_clock_goes_back_or_stands() -> None:
    life, ids = EventLife("door"), []
    for number, at in enumerate([NOON, NOON, NOON - 3600, NOON - 3599]):
        ids += [change.event.id for change in life.update(detection(2 * number, 0.9, True), at)]
        life.update(detection(2 * number + 1, 0.1, False), at)
    assert ids == sorted(set(ids))
    assert len(ids) == 4


def test_an_alarm_that_stays_on_for_days_becomes_many_events() -> None:
    found = [change for some in changes("#" * (MAX_EVENT_FRAMES + 2)) for change in some]
    assert [change.kind for change in found] == ["opened", "closed", "opened", "closed"]
    first, second = (change.event for change in found if change.kind == "closed")
    assert (len(first.frames), len(second.frames)) == (MAX_EVENT_FRAMES, 2)
    assert second.start_frame == first.end_frame + 4
    assert first.id < second.id
