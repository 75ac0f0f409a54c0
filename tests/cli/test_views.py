"""What a person reads while something runs, and after."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich import progress as rich_progress
from rich.console import Console

from stprompt_edge.cli.extract import extraction_report
from stprompt_edge.cli.run import live_run
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.cli.train import TABLE_ROWS, epoch_line, live_training, training_table
from stprompt_edge.features.extraction import Extraction
from stprompt_edge.runtime.watch import Progress
from stprompt_edge.training.curves import EpochFigures


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
    where = Progress(camera_frame=99, camera_frames=None, frames_per_second=51.6, score=0.9, alarm=True, events=2)
    with live_run(console, 0.5) as follow:
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


def test_the_report_of_an_extraction() -> None:
    done = Extraction(
        written=3,
        skipped=4,
        unreadable=(("b.mp4", "b.mp4 is empty (0 bytes)"),),
        warned=(("a.mp4", "file is truncated: 3 of about 9 frames decoded"),),
        missing=("x.mp4", "y.mp4"),
        left=2,
    )
    assert text_of(extraction_report(done, Path("f"))).splitlines() == [
        "extracted 3 videos, 4 were there already, wrote f",
        "extracted as far as it goes: a.mp4: file is truncated: 3 of about 9 frames decoded",
        "left out b.mp4: b.mp4 is empty (0 bytes)",
        "left out 2 listed videos that are not there, the first is x.mp4",
        "interrupted with 2 videos left: the same command goes on with them",
    ]
    whole = Extraction(written=1, skipped=0, unreadable=())
    assert text_of(extraction_report(whole, Path("f"))).splitlines() == [
        "extracted 1 videos, 0 were there already, wrote f"
    ]


def epochs_of_training(count: int, *, best: int, validation: bool = True) -> list[EpochFigures]:
    return [
        EpochFigures(
            epoch=epoch,
            train={"ranking": 0.25, "total": 1 / (epoch + 1)},
            validation={"ranking": 0.5, "total": 0.75} if validation else None,
            validation_auc=0.875 if validation else None,
            best=epoch <= best,
        )
        for epoch in range(count)
    ]


def test_a_line_for_an_epoch() -> None:
    first, second = epochs_of_training(2, best=0)
    assert text_of(epoch_line(first, 20)).rstrip() == (
        "epoch   1 of 20   loss 1.0000   validation 0.7500, AUC 0.875   ranking 0.2500   best so far"
    )
    assert "best" not in text_of(epoch_line(second, 20))
    (bare,) = epochs_of_training(1, best=0, validation=False)
    assert text_of(epoch_line(bare, 1)).rstrip() == "epoch   1 of 1   loss 1.0000   ranking 0.2500   best so far"


@pytest.mark.parametrize(("count", "best", "shown"), [(1, 0, [1]), (3, 1, [1, 2, 3]), (50, 4, [5, *range(39, 51)])])
def test_the_training_table_has_the_last_epochs_and_the_best(count: int, best: int, shown: list[int]) -> None:
    table = training_table(epochs_of_training(count, best=best), 60)
    assert list(table.columns[0].cells) == [str(epoch) for epoch in shown]
    assert [column.header for column in table.columns] == [
        "epoch",
        "loss",
        "ranking",
        "validation loss",
        "validation AUC",
    ]
    assert [row.style is not None for row in table.rows] == [epoch == best + 1 for epoch in shown]
    assert len(table.rows) <= TABLE_ROWS + 1
    assert len(training_table(epochs_of_training(count, best=best, validation=False), 60).columns) == 3


def test_training_is_a_table_in_a_terminal_and_lines_elsewhere() -> None:
    rows = epochs_of_training(2, best=1)
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=120, height=40, force_terminal=terminal, _environ={})
        with live_training(console) as show:
            show(rows[:1], 2)
            show(rows, 2)
        printed = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("validation AUC" in printed) == terminal
        assert ("best so far" in printed) != terminal
        assert "epoch 2 of 2" in printed or "epoch   2 of 2" in printed
