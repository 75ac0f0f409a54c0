"""The report of an int8 calibration as files: int8.json with all of it, layers.csv, layers.png."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stprompt_edge import __version__
from stprompt_edge.calibration.frames import Candidate
from stprompt_edge.calibration.records import Int8Calibration, LayerRow
from stprompt_edge.export.parity import MIN_COSINE
from stprompt_edge.files import disk_errors, write_bytes_atomic, write_text_atomic
from stprompt_edge.masking import masked_source
from stprompt_edge.reports.charts import DASHED, Chart, named_rows
from stprompt_edge.reports.theme import LIGHT, Theme
from stprompt_edge.runtime.recording.plain_json import json_text

REPORT_NAMES = JSON_NAME, TABLE_NAME, PICTURE_NAME = "int8.json", "layers.csv", "layers.png"
_LEAST_COST = 1e-7  # float32 tells cosines no finer
_ROW_IN, _FRAME_IN = 0.17, 0.9  # height of a bar, and of what is around them
_LABEL_LENGTH = 34


def write_report(done: Int8Calibration) -> tuple[Path, ...]:
    """Write the three files into the settings' folder.

    Raises:
        As `files.disk_errors`; EnvironmentFailure where matplotlib is missing.
    """
    out = done.settings.out
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(out / JSON_NAME, json_text(to_dict(done), indent=2) + "\n")
    write_text_atomic(out / TABLE_NAME, layers_table(done.layers))
    write_bytes_atomic(out / PICTURE_NAME, layers_chart(done.layers).png(LIGHT))
    return tuple(out / name for name in REPORT_NAMES)


def to_dict(done: Int8Calibration) -> dict[str, Any]:
    """All of it, for machines."""
    return {
        "created_by": f"stprompt-edge {__version__}",
        "method": done.settings.method,
        "footage": [masked_source(source) for source in done.settings.footage],
        "frames_looked_at": done.choice.looked_at,
        "parity": done.parity.model_dump(),
        "auc": dataclasses.asdict(done.auc) | {"difference": done.auc.int8 - done.auc.fp32} if done.auc else None,
        "notes": list(done.notes),
        "layers": [dataclasses.asdict(row) for row in done.layers],
        "calibration_frames": [_frame(one) for one in done.choice.calibration],
        "gate_frames": [_frame(one) for one in done.choice.gate],
    }


def layers_table(rows: Sequence[LayerRow]) -> str:
    """layers.csv: one line for each layer, costliest first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "node", "operator", "weight", "range", "cosine_lost_alone", "precision"])
    for row in sorted(rows, key=lambda row: -row.cost):
        precision = "int8" if row.int8 else "fp16"
        cells = [row.label, row.node, row.op_type, row.weight, f"{row.range:.6g}", f"{row.cost:.3g}", precision]
        writer.writerow(cells)
    return text.getvalue()


def layers_chart(rows: Sequence[LayerRow]) -> Chart:
    """A bar for each layer, in the graph's order from top to bottom."""
    return Chart(
        name="layers",
        title="What each layer costs in int8",
        caption="Cosine to fp32 that is lost with one layer alone in int8; the dashed line is what all may lose.",
        height_in=_FRAME_IN + _ROW_IN * len(rows),
        width_in=7.2,
        draw=lambda figure, theme: _draw(figure, theme, rows),
    )


def _draw(figure: Any, theme: Theme, rows: Sequence[LayerRow]) -> None:
    axes = figure.add_subplot()
    costs = [max(row.cost, _LEAST_COST) for row in rows]
    for int8, colour, name in ((True, theme.calm, "int8"), (False, theme.warn, "left in fp16")):
        places = [place for place, row in enumerate(rows) if row.int8 is int8]
        if places:
            axes.barh(places, [costs[place] for place in places], color=colour, height=0.7, label=name)
    axes.axvline(1 - MIN_COSINE, color=theme.alarm, **DASHED)
    axes.set_xscale("log")
    axes.set_xlim(left=_LEAST_COST)
    axes.xaxis.set_major_formatter(lambda cost, _: f"{cost:.0e}")
    named_rows(axes, [row.label for row in rows], length=_LABEL_LENGTH, size=6)
    axes.set_xlabel("cosine to fp32 lost with this layer alone in int8")
    figure.legend(loc="outside upper right", ncols=2)


def _frame(one: Candidate) -> dict[str, Any]:
    return {
        "video": masked_source(one.source),
        "frame": one.frame,
        "seconds": round(one.seconds, 3),
        "brightness": round(one.brightness, 4),
        "motion": round(one.motion, 5),
    }
