"""What a person reads while a detector is trained."""

import io

import pytest
from rich.console import Console

from stprompt_edge.cli.train import TABLE_ROWS, epoch_line, live_training, training_table
from stprompt_edge.training.curves import EpochFigures
from tests.cli.program import text_of


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
