"""The course of a training as files: curves.csv, whole after each epoch, and curves.png."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.files import atomic_path, write_text_atomic

if TYPE_CHECKING:
    from stprompt_edge.training.fit import EpochFigures

TABLE_NAME, PICTURE_NAME = "curves.csv", "curves.png"


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
    """curves.png: total loss of training and validation, the parts of the training loss, and the validation's AUC.

    Nothing is drawn of no epoch.

    Raises:
        EnvironmentFailure: matplotlib is missing, or the disk is full.
    """
    if not rows:
        return
    figure_class = import_figure()
    epochs = [row.epoch + 1 for row in rows]
    totals = {"training": [row.train["total"] for row in rows]}
    if rows[0].validation:
        totals["validation"] = [row.validation["total"] for row in rows if row.validation]
    parts = {name: [row.train[name] for row in rows] for name in rows[0].train if name != "total"}
    panels: list[tuple[str, dict[str, Any]]] = [("loss", totals), ("parts of the training loss", parts)]
    if rows[0].validation_auc is not None:
        panels.append(("AUC of whole videos held out", {"": [row.validation_auc for row in rows]}))
    figure = figure_class(figsize=(4.5 * len(panels), 3.5), layout="constrained")
    best = max(row.epoch + 1 for row in rows if row.best)
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, values in curves.items():
            axes.plot(epochs, values, label=name, marker="." if len(epochs) < 30 else None)
        axes.axvline(best, color="0.7", linestyle="--", zorder=0, label="best")
        axes.set(title=title, xlabel="epoch")
        if len(curves) > 1:
            axes.legend(frameon=False)
    with atomic_path(out / PICTURE_NAME) as path:
        figure.savefig(path, format="png", dpi=120)


def import_figure() -> Any:
    """Matplotlib's Figure, which draws into files without a display and without any global state.

    Raises:
        EnvironmentFailure: if it is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise EnvironmentFailure(
            f"matplotlib cannot be imported ({exc})", remedy='pip install "stprompt-edge[train]"'
        ) from exc
    return Figure


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
