"""Which camera frames are sampled, and the warning when the spacing is not the trained one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.sampler import Sampler, stride_warning


@pytest.mark.parametrize(
    ("stride", "frames", "taken"),
    [
        (1, 0, []),
        (1, 1, [0]),
        (16, 1, [0]),
        (1, 3, [0, 1, 2]),
        (4, 9, [0, 4, 8]),
        (16, 16, [0]),
        (16, 17, [0, 16]),
    ],
)
def test_sampler_takes_every_stride_th_frame_from_the_first(stride, frames, taken):
    assert [index for index in range(frames) if Sampler(stride).takes(index)] == taken


@given(stride=st.integers(1, 1000), frames=st.integers(0, 3000))
def test_sampler_takes_one_of_every_stride_frames(stride, frames):
    assert sum(Sampler(stride).takes(index) for index in range(frames)) == -(-frames // stride)


@pytest.mark.parametrize("stride", [0, -1])
def test_sampler_refuses_a_stride_under_one(stride):
    with pytest.raises(UsageError, match=f"stride must be 1 or more, got {stride}"):
        Sampler(stride)


@pytest.mark.parametrize(("stride", "fps", "seconds"), [(1, 0.0, 0.0), (1, 1.0, 1.0), (16, 32.0, 0.5), (4, 25.0, 0.16)])
def test_seconds_between_samples(stride, fps, seconds):
    assert Sampler(stride).seconds_between_samples(fps) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("stride", "fps", "trained_seconds"),
    [
        (16, 0.0, 0.5),  # rate unknown
        (16, 30.0, 0.0),  # bundle does not say
        (16, 30.0, 16 / 30),  # the same
        (16, 60.0, 16 / 30),  # exactly half
        (16, 15.0, 16 / 30),  # exactly double
        (1, 5.0, 0.01),  # already the densest
        (16, float("inf"), 0.5),
        (16, 30.0, float("nan")),
    ],
)
def test_no_stride_warning_within_a_factor_of_two_or_without_facts(stride, fps, trained_seconds):
    assert stride_warning(stride, fps, trained_seconds) is None


@pytest.mark.parametrize(
    ("stride", "fps", "trained_seconds", "suggested"),
    [(16, 5.0, 16 / 30, 3), (1, 30.0, 16 / 30, 16), (4, 1.0, 0.16, 1), (16, 100.0, 16 / 30, 53)],
)
def test_stride_warning_suggests_the_closest_stride(stride, fps, trained_seconds, suggested):
    line = stride_warning(stride, fps, trained_seconds)
    assert line is not None
    assert f"stride {suggested} is closest" in line
    assert "\n" not in line


@given(st.integers(1, 10**6), st.floats(0, 10**6), st.floats(0, 10**6))
def test_following_the_suggestion_never_gives_another_warning(stride, fps, trained_seconds):
    line = stride_warning(stride, fps, trained_seconds)
    if line is not None:
        assert stride_warning(max(1, round(trained_seconds * fps)), fps, trained_seconds) is None
