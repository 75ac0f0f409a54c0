"""The course of a training as files: curves.csv, whole after each epoch, and curves.png."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stprompt_edge.files import write_bytes_atomic, write_text_atomic
from stprompt_edge.reports.charts import DASHED, Chart
from stprompt_edge.reports.theme import LIGHT, Theme

CURVES_NAMES = TABLE_NAME, PICTURE_NAME = "curves.csv", "curves.png"
FEW_EPOCHS = 30  # so few are marked one by one


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """One row of the training table; losses by name, `total` last."""

    epoch: int  # from 0
    train: Mapping[str, float]  # means over the batches
    validation: Mapping[str, float] | None  # None when there are too few videos to hold any out
    validation_auc: float | None  # of the scores of whole videos
    best: bool  # the best epoch so far


def write_table(out: Path, rows: Sequence[EpochFigures]) -> None:
    """curves.csv: one line for each epoch, one column for each loss, empty where there is no validation.

    Raises as `files.disk_errors`.
    """
    text = io.StringIO()
    names = list(rows[0].train)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["epoch", *(f"{part}_{name}" for part in ("train", "validation") for name in names), "validation_auc", "best"]
    )
    for row in rows:
        losses = [[part[name] if part else "" for name in names] for part in (row.train, row.validation)]
        auc = "" if row.validation_auc is None else row.validation_auc
        writer.writerow([row.epoch + 1, *(_short(value) for value in (*losses[0], *losses[1], auc)), int(row.best)])
    write_text_atomic(out / TABLE_NAME, text.getvalue())


def draw_curves(out: Path, rows: Sequence[EpochFigures]) -> None:
    """curves.png; nothing is drawn of no epoch.

    Raises:
        EnvironmentFailure: the disk is full.
    """
    if rows:
        write_bytes_atomic(out / PICTURE_NAME, curves_chart(rows).png(LIGHT))


def curves_chart(rows: Sequence[EpochFigures]) -> Chart:
    """Total loss of training and validation, parts of the training loss, and the validation's AUC; a panel each."""
    totals = {"training": [row.train["total"] for row in rows]}
    if rows[0].validation:
        totals["validation"] = [row.validation["total"] for row in rows if row.validation]
    parts = {name: [row.train[name] for row in rows] for name in rows[0].train if name != "total"}
    panels: list[tuple[str, dict[str, Any]]] = [("loss", totals), ("parts of the training loss", parts)]
    if rows[0].validation_auc is not None:
        panels.append(("AUC of whole videos held out", {"": [row.validation_auc for row in rows]}))
    return Chart(
        name="curves",
        title="The course of the training",
        caption="Losses by epoch; the dashed line is the epoch that was kept as the best.",
        height_in=2.8,
        width_in=3.4 * len(panels),
        draw=lambda figure, theme: _draw(figure, theme, rows, panels),
    )


def _draw(figure: Any, theme: Theme, rows: Sequence[EpochFigures], panels: Sequence[tuple[str, dict]]) -> None:
    epochs = [row.epoch + 1 for row in rows]
    best = max(row.epoch + 1 for row in rows if row.best)
    colours = (theme.calm, theme.alarm, theme.good)
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for (name, values), colour in zip(curves.items(), colours, strict=False):
            axes.plot(epochs, values, label=name, color=colour, marker="." if len(epochs) < FEW_EPOCHS else None)
        axes.axvline(best, color=theme.dim, **DASHED, zorder=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(curves) > 1:
            axes.legend()


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
