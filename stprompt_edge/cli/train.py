"""`train`: a detector from video-level labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stprompt_edge.cli.signals import stop_on_signal
from stprompt_edge.cli.terminal import console
from stprompt_edge.progress import one_line

if TYPE_CHECKING:
    from stprompt_edge.training.curves import EpochFigures

TABLE_ROWS = 12  # of the training table: a live one must fit the window


def train(
    features: Annotated[Path, typer.Argument(help="Folder that `extract` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of checkpoints to make or continue.")],
    vocabulary: Annotated[str, typer.Option(help="Shipped name or TOML file.")] = "ucf-crime",
    recipe: Annotated[str, typer.Option(help="Shipped name or TOML file.")] = "ucf-crime",
    pretrained: Annotated[
        str | None, typer.Option(help="CLIP weights, where the features' name is not enough.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="stprompt or mil-ranking, instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
) -> None:
    """Train a detector from video-level labels; resumes what --out holds."""
    from stprompt_edge.training.commands import TrainSettings, train

    settings = TrainSettings(
        features=features, out=out, vocabulary=vocabulary, recipe=recipe, pretrained=pretrained, method=method,
        epochs=epochs, seed=seed,
    )  # fmt: skip
    with stop_on_signal() as stop, live_training(console) as show:
        best = train(settings, stop=stop, on_epoch=lambda rows, plan: show(rows, plan.epochs))
    if stop.is_set():
        console.print("interrupted: the same command goes on from the last finished epoch", style="yellow")
        raise typer.Exit(stop.exit_code)
    console.print(one_line(f"wrote {best}"))


@contextmanager
def live_training(console: Console) -> Iterator[Callable[[Sequence[EpochFigures], int], None]]:
    """A table that grows with each epoch, or a line for each where there is no terminal; yields what shows the rows."""
    from rich.live import Live

    if not console.is_terminal:
        yield lambda rows, epochs: console.print(epoch_line(rows[-1], epochs), soft_wrap=True)
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield lambda rows, epochs: live.update(training_table(rows, epochs))


def epoch_line(row: EpochFigures, epochs: int) -> Text:
    """One epoch of training: total loss on training and validation videos, then the parts of the former."""
    line = one_line(f"epoch {row.epoch + 1:3d} of {epochs}   loss {row.train['total']:.4f}")
    if row.validation is not None:
        line.append(f"   validation {row.validation['total']:.4f}, AUC {row.validation_auc:.3f}")
    for name, loss in row.train.items():
        line.append("" if name == "total" else f"   {name} {loss:.4f}", style="dim")
    line.append("   best so far" if row.best else "", style="green")
    return line


def training_table(rows: Sequence[EpochFigures], epochs: int) -> Table:
    """The last epochs and the best one: losses of training, then of the videos held out."""
    best = max(row.epoch for row in rows if row.best)
    table = Table(title=f"epoch {len(rows)} of {epochs}", title_justify="left")
    parts = [name for name in rows[0].train if name != "total"]
    for column in ("epoch", "loss", *parts):
        table.add_column(column, justify="right")
    if rows[0].validation is not None:
        table.add_column("validation loss", justify="right")
        table.add_column("validation AUC", justify="right")
    for row in rows:
        if row.epoch != best and row.epoch < len(rows) - TABLE_ROWS:
            continue
        cells = [str(row.epoch + 1), *(f"{row.train[name]:.4f}" for name in ("total", *parts))]
        if row.validation is not None:
            cells += [f"{row.validation['total']:.4f}", f"{row.validation_auc:.3f}"]
        table.add_row(*cells, style="bold green" if row.epoch == best else None)
    return table
