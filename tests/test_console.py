"""What a person reads while something runs, and after."""

import io
from pathlib import Path

import pytest
from rich import progress as rich_progress
from rich.console import Console

from stprompt_edge.console import extraction_report, live_steps
from stprompt_edge.training.extraction import Extraction


def text_of(what: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_time_left_survives_steps_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    bars = []

    class Clocked(rich_progress.Progress):
        def __init__(self, *columns: object, **options: object) -> None:
            super().__init__(*columns, **options, get_time=lambda: now[0])  # type: ignore[arg-type]
            bars.append(self)

    monkeypatch.setattr("stprompt_edge.console.Bar", Clocked)
    with live_steps(Console(file=io.StringIO(), width=120)) as show:
        for minute in range(4):
            now[0] = 60.0 * minute
            show(f"{minute} of 10 videos", minute / 10)
        assert "3 of 10 videos" in text_of(bars[0])
        assert "left 0:07:00" in text_of(bars[0])


def test_the_report_of_an_extraction() -> None:
    done = Extraction(
        written=3,
        skipped=4,
        unreadable=(("b.mp4", "b.mp4 is empty (0 bytes)"),),
        damaged=(("a.mp4", "file is truncated: 3 of about 9 frames decoded"),),
        missing=("x.mp4", "y.mp4"),
        left=2,
    )
    assert text_of(extraction_report(done, Path("f"))).splitlines() == [
        "extracted 3 videos, 4 were there already, wrote f",
        "damaged, extracted as far as it goes: a.mp4: file is truncated: 3 of about 9 frames decoded",
        "left out b.mp4: b.mp4 is empty (0 bytes)",
        "left out 2 listed videos that are not there, the first is x.mp4",
        "interrupted with 2 videos left: the same command goes on with them",
    ]
    whole = Extraction(written=1, skipped=0, unreadable=())
    assert text_of(extraction_report(whole, Path("f"))).splitlines() == [
        "extracted 1 videos, 0 were there already, wrote f"
    ]
