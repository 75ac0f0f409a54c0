"""Time from stamps that lie now and then, and gaps between frames."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.runtime.sources.clock import Clock, FrameDistances, median_rate

HOURS = 3 * 3600.0


def times(stamps, frame_s=0.5, start_s=None):
    clock = Clock(frame_s, start_s)
    given = [seconds for stamp in stamps for seconds in clock.push(stamp)]
    return [*given, *clock.flush()]


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [
        ([], []),
        ([0.7], [0.0]),
        ([None], [0.0]),
        ([9.0, 10.0, 12.0], [0.0, 1.0, 3.0]),
        ([None, None, None], [0.0, 0.5, 1.0]),
        ([None, 10.0, 11.0], [0.0, 0.5, 1.5]),
        ([0.0, None, 2.0], [0.0, 0.5, 2.0]),
        ([0.0, 1.0, 1.0, 0.5, 4.0], [0.0, 1.0, 1.5, 2.0, 4.0]),
        ([0.0, 1.0, -(2.0**60), 1.2], [0.0, 1.0, 1.1, 1.2]),
    ],
)
def test_time_moves_forward(stamps, seconds):
    assert times(stamps) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [  # frames a second apart
        ([0, 1, HOURS, 3, 4], [0, 1, 2, 3, 4]),  # one stamp far ahead
        ([0, 1, HOURS, HOURS + 1, 4, 5], [0, 1, 2, 3, 4, 5]),  # two
        ([0, 1, 100, 3, 200, 5, 6], [0, 1, 2, 3, 4, 5, 6]),  # one after another
        ([50, 51, 3, 53, 54], [0, 1, 2, 3, 4]),  # one far behind
        ([0, 1, HOURS, HOURS + 1, HOURS + 2, HOURS + 3], [0, 1, HOURS, HOURS + 1, HOURS + 2, HOURS + 3]),  # a jump
        ([0, 1, HOURS, 3, HOURS + 2, HOURS + 3, HOURS + 4], [0, 1, 2, 3, HOURS + 2, HOURS + 3, HOURS + 4]),
        ([100, 101, 102, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5, 6]),  # the stream began anew
        ([0, 1, 2, HOURS], [0, 1, 2, 3]),  # the last of all
        ([0, 1, 2, 9], [0, 1, 2, 9]),
        ([0, 1, 2, HOURS, HOURS + 1], [0, 1, 2, HOURS, HOURS + 1]),
        ([0, 1, HOURS, None, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_one_stamp_may_be_wrong_and_several_are_a_jump(stamps, seconds):
    assert times(stamps, frame_s=1.0) == pytest.approx(seconds)


def test_a_player_starts_where_the_container_does():
    assert times([3.0, 4.0], start_s=1.5) == [1.5, 2.5]
    assert times([1.0, 2.0], start_s=1.5) == [0.0, 1.0]  # never negative


def test_only_frames_that_do_not_follow_wait():
    clock = Clock(0.04)
    assert [len(clock.push(stamp)) for stamp in (0.0, 0.04, 0.08, 5.0, 5.04, 5.08)] == [1, 1, 1, 0, 0, 3]


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6, allow_subnormal=False)), max_size=30))
def test_every_frame_gets_a_later_time_than_the_one_before(stamps):
    seconds = times(stamps)
    assert len(seconds) == len(stamps)
    assert all(before < after for before, after in pairwise(seconds))


def distances(seconds):
    found = FrameDistances()
    for value in seconds:
        found.add(value)
    return found


@pytest.mark.parametrize(
    ("missing", "gaps"),
    [
        ([], []),
        ([40], [(1.56, 1.64)]),
        ([40, 41, 42, 90], [(1.56, 1.72), (3.56, 3.64)]),
        (range(35, 74), [(1.36, 2.96)]),
    ],
)
def test_missing_frames_are_counted_and_placed(missing, gaps):
    found = distances(index / 25 for index in range(150) if index not in missing)
    assert found.missing_frames == len(missing)
    assert found.gaps == [pytest.approx(gap) for gap in gaps]


@pytest.mark.parametrize(
    "steps",
    [
        [0.04, 0.12] * 30,  # variable rate
        [0.033, 0.034, 0.033] * 30,  # milliseconds of a Matroska file
        [0.03, 0.05, 0.04, 0.045] * 30,  # a network camera's
        [60.0] * 20,  # a picture a minute
        [120.0] * 20,
        [0.04, 0.08, 0.04, 0.04, 0.12, 0.04, 0.08, 0.2] * 20 + [0.36],  # pictures that changed
        [0.1, 0.4, 0.1, 1.4],  # too few to say
        [],
    ],
)
def test_a_rate_that_varies_has_no_gaps(steps):
    found = distances(sum(steps[:count]) for count in range(len(steps) + 1))
    assert (found.missing_frames, found.gaps, found.jumps) == (0, [], [])


def test_what_a_cut_leaves_at_the_end_is_no_gap():
    cut = [index for index in range(56) if index not in (51, 53)]
    assert distances(index / 25 for index in cut).missing_frames == 0
    assert distances(index / 25 for index in [*cut, 56, 57, 58, 59]).missing_frames == 2


def test_a_long_gap_before_the_last_frame_counts():
    found = distances([*(index / 25 for index in range(100)), 5.0])
    assert (found.missing_frames, found.gaps) == (25, [pytest.approx((3.96, 5.0))])


def test_packets_without_a_frame_at_the_end():
    found = distances(index / 25 for index in range(100))
    found.end(2.0)  # the last of 50 packets
    assert (found.missing_frames, found.gaps) == (50, [pytest.approx((3.96, 6.0))])


def test_hours_between_two_frames_are_no_missing_frames():
    found = distances([*(index / 25 for index in range(50)), *(HOURS + index / 25 for index in range(50))])
    assert (found.missing_frames, found.gaps) == (0, [])
    assert found.jumps == [pytest.approx((1.96, HOURS))]


@pytest.mark.parametrize(
    ("stamps", "fps"),
    [([], 0.0), ([1.0], 0.0), ([0.0, 0.5, 1.0], 2.0), ([0, 4, 2, 3, 1], 1.0), ([0, 0.04, 0.08, 0.2, 0.24], 25.0)],
)
def test_the_rate_is_the_median(stamps, fps):
    assert median_rate(stamps) == pytest.approx(fps)
