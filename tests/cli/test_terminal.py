"""What a person reads while something runs."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from rich import progress as rich_progress
from rich.console import Console

from stprompt_edge.cli.run import live_run
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.runtime.watch import Progress
from tests.cli.program import text_of


def test_the_time_left_survives_steps_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    bars = []

    class Clocked(rich_progress.Progress):
        def __init__(self, *columns: object, **options: object) -> None:
            super().__init__(*columns, **options, get_time=lambda: now[0])  # type: ignore[arg-type]
            bars.append(self)

    monkeypatch.setattr(rich_progress, "Progress", Clocked)
    with live_steps(Console(file=io.StringIO(), width=120, force_terminal=True, _environ={})) as show:
        for minute in range(4):
            now[0] = 60.0 * minute
            show(f"{minute} of 10 videos", minute / 10)
        assert "3 of 10 videos" in text_of(bars[0])
        assert "left 0:07:00" in text_of(bars[0])


def test_elsewhere_steps_and_a_run_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []

    @contextmanager
    def listening(console: Console) -> Iterator[Callable[[str, str], None]]:
        yield lambda step, text: told.append((step, text))

    for place in ("terminal", "run"):
        monkeypatch.setattr(f"stprompt_edge.cli.{place}.plain_progress", listening)
    console = Console(file=io.StringIO(), width=120)
    with live_steps(console) as show:
        show("exporting fp32", 0.25)
    where = Progress(
        camera_frame=99, camera_frames=None, frames_per_second=51.6, score=0.9, threshold_on=0.5, alarm=True, events=2
    )
    with live_run(console) as follow:
        follow(where)
        follow(replace(where, camera_frames=300, alarm=False))
    assert told == [
        ("exporting fp32", "25% exporting fp32"),
        ("watching", "frame 100, 52 frames/s, score 0.900, alarm, 2 events"),
        ("watching", "frame 100 of 300, 52 frames/s, score 0.900, 2 events"),
    ]
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_file_name_in_the_progress_is_no_markup() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with live_steps(console) as show:
        show("[red]a[/b].mp4", 0.5)
    assert "[red]a[/b].mp4" in console.file.getvalue()  # type: ignore[attr-defined]
