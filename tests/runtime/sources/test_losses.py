"""What is said of losses."""

import pytest

from stprompt_edge.runtime.records import Losses
from stprompt_edge.runtime.sources.clock import FrameDistances
from stprompt_edge.runtime.sources.losses import Spans, damage_warnings


def spans(letters: str) -> Spans:
    found = Spans()
    for place, letter in enumerate(letters):
        found.add(float(place), letter == "x")
    return found


@pytest.mark.parametrize(
    ("letters", "expected", "more"),
    [
        ("", [], False),
        ("...", [], False),
        (".x.", [(1, 1)], False),
        ("xx..xxx", [(0, 1), (4, 6)], False),
        ("x.x.x.xx.x", [(0, 0), (2, 2), (4, 4)], True),
    ],
)
def test_stretches_of_frames(letters, expected, more):
    found = spans(letters)
    assert (found.spans, found.more) == (expected, more)


def test_nothing_lost_is_nothing_said():
    assert damage_warnings(Losses(), FrameDistances(), Spans(), live=False) == []


@pytest.mark.parametrize(
    ("losses", "letters", "line"),
    [
        (Losses(undecodable_packets=1), "", "1 packet undecodable"),
        (Losses(corrupt_frames=1), ".x", "1 corrupt frame not scored (at 1.00 s)"),
        (
            Losses(corrupt_frames=1, concealed_frames=2, undecodable_packets=3),
            "..xxx",
            "1 corrupt and 2 concealed frames not scored (2.00 to 4.00 s), 3 packets undecodable",
        ),
        (
            Losses(concealed_frames=5),
            "x.x.x.x.x",
            "5 concealed frames not scored (at 0.00 s, at 2.00 s, at 4.00 s, ...)",
        ),
    ],
)
def test_one_line_says_how_much_and_where(losses, letters, line):
    assert damage_warnings(losses, FrameDistances(), spans(letters), live=False) == [f"file is damaged: {line}"]
    assert damage_warnings(losses, FrameDistances(), spans(letters), live=True) == [f"stream came damaged: {line}"]
