"""The report's table and chart."""

from __future__ import annotations

import csv
import io

from matplotlib.colors import to_rgba

from stprompt_edge.calibration.records import LayerRow
from stprompt_edge.calibration.report import layers_chart, layers_table
from stprompt_edge.export.parity import MIN_COSINE
from stprompt_edge.reports.theme import LIGHT
from tests.reports.drawn import axes_of, row_names


def row(label: str, cost: float, *, int8: bool = True) -> LayerRow:
    return LayerRow(
        label=label, node=f"n_{label}", op_type="MatMul", weight="2x3", range=1.5, cost=cost, int8=int8
    )  # fmt: skip


ROWS = (row("a", 1e-5), row("b", 2e-3, int8=False), row("c", 0.0))


def test_the_table_names_the_costliest_first() -> None:
    lines = list(csv.DictReader(io.StringIO(layers_table(ROWS))))
    assert [(line["layer"], line["precision"]) for line in lines] == [("b", "fp16"), ("a", "int8"), ("c", "int8")]
    assert [float(line["cosine_lost_alone"]) for line in lines] == [2e-3, 1e-5, 0]


def test_the_chart_draws_each_layer_in_the_graphs_order() -> None:
    (axes,) = axes_of(layers_chart(ROWS))
    assert row_names(axes) == ["a", "b", "c"]
    bars = {round(bar.get_y() + bar.get_height() / 2): bar for bar in axes.patches}
    assert [bars[row].get_width() for row in range(3)] == [1e-5, 2e-3, 1e-7]  # a cost of 0 has a place on no log axis
    assert [bars[row].get_facecolor() for row in range(3)] == [to_rgba(c) for c in (LIGHT.calm, LIGHT.warn, LIGHT.calm)]
    assert axes.get_ylim() == (2.5, -0.5)  # the first one on top
    assert axes.get_xscale() == "log"
    assert axes.lines[0].get_xdata()[0] == 1 - MIN_COSINE
    assert axes.xaxis.get_major_formatter()(1e-5, 0) == "1e-05"
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["int8", "left in fp16"]
    assert layers_chart(ROWS[:1]).png(LIGHT).startswith(b"\x89PNG")
