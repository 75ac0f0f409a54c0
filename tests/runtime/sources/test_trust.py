"""Damage, followed from packet to packet in the order of decoding."""

from dataclasses import dataclass

import pytest

from stprompt_edge.runtime.sources.trust import LONGEST_DISTRUST, REORDER, Trust


@dataclass
class Frame:
    opaque: object
    is_corrupt: bool = False


def verdicts(kinds: str, *, flagged: str = "", order: str | None = None, back_at: int | None = None) -> str:
    """One letter for each frame, w(hole), c(orrupt), m(ade up): of packets a, b, c ... in the order of decoding.

    Args:
        kinds: of each packet: K key, P not, k and p the same with the packet flagged as corrupt.
        flagged: frames that the decoder flags.
        order: frames as they are shown; as decoded if None.
        back_at: the packet where time is set back.
    """
    stamps = [place - (100 if back_at is not None and place >= back_at else 0) for place in range(len(kinds))]
    order = order or "".join(chr(97 + place) for place in range(len(kinds)))
    trust, marks = Trust(), {}
    for place, kind in enumerate(kinds):
        letter = chr(97 + place)
        shown = order.index(letter) if letter in order else None
        marks[letter] = trust.mark(key=kind in "Kk", corrupt=kind in "kp", pts=shown, dts=stamps[place], arrived_s=0.0)
    judged = [found for letter in order for found in trust.judge(Frame(marks[letter], letter in flagged))]
    judged += trust.flush()
    assert [frame.opaque for frame, _ in judged] == [marks[letter] for letter in order]
    return "".join({"whole": "w", "corrupt": "c", "concealed": "m"}[verdict.value] for _, verdict in judged)


@pytest.mark.parametrize(
    ("kinds", "options", "expected"),
    [
        ("", {}, ""),
        ("K", {}, "w"),
        ("KPPP", {}, "wwww"),
        ("KPpPKP", {}, "wwcmww"),  # up to the next key frame
        ("KPPPKP", {"flagged": "c"}, "wwmmww"),
        ("KPPPkP", {}, "wwwwcm"),
        ("KPPpKPKP", {}, "wwwcwwww"),
        ("KPPpKPKP", {"back_at": 4}, "wwwwwwww"),  # two recordings were joined
        ("KPpPKPKP", {"back_at": 4}, "wwwwwwww"),
        ("KpPPPPKP", {"back_at": 6}, "wcmmmmww"),  # long before the joint
        ("PPP", {"flagged": "b"}, "wmm"),  # began between key frames
        (
            "KPPKP",
            {"order": "acbde", "flagged": "b"},
            "ammww".replace("a", "w"),
        ),  # c is predicted from b, shown before it
        ("KPPKPP", {"order": "abcefd", "flagged": "c"}, "wwmmmw"),  # e and f lead the key frame d, predicted from c too
        ("KPPKP", {"order": "abde", "flagged": "b"}, "wmww"),  # c never came out
        ("kkkk", {}, "cccc"),
    ],
)
def test_damage_goes_on_to_the_next_key_frame(kinds, options, expected):
    assert verdicts(kinds, **options) == expected


def test_a_stream_without_key_frames_is_believed_again():
    trust = Trust()
    marks = [trust.mark(key=n == 0, corrupt=n == 5, pts=n, dts=n, arrived_s=0.0) for n in range(LONGEST_DISTRUST + 50)]
    judged = [verdict.value for mark in marks for _, verdict in trust.judge(Frame(mark))]
    assert judged[:5] == ["whole"] * 5
    assert judged[5] == "corrupt"
    assert judged[6:].index("whole") == LONGEST_DISTRUST


def test_a_decoder_that_loses_the_marks_is_believed_unless_it_flags():
    trust = Trust()
    frames = [Frame(None), Frame(None, is_corrupt=True), Frame(None)]
    assert [verdict.value for frame in frames for _, verdict in trust.judge(frame)] == ["whole", "concealed", "whole"]


def test_packets_without_a_frame_hold_nothing_for_long():
    trust = Trust()
    hidden = trust.mark(key=True, corrupt=False, pts=0, dts=0, arrived_s=0.0)
    given = []
    for number in range(10):
        mark = trust.mark(key=False, corrupt=False, pts=number + 1, dts=number + 1, arrived_s=0.0)
        given += trust.judge(Frame(mark))
    assert hidden.number == 1
    assert len(given) == 10 - REORDER
