"""A chart as matplotlib holds it, to compare what is drawn with the numbers it was drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stprompt_edge.reports.charts import Chart
from stprompt_edge.reports.theme import LIGHT


def axes_of(chart: Chart) -> list[Any]:
    """The panels of a chart, drawn."""
    figure = Figure()
    chart.draw(figure, LIGHT)
    return figure.axes


def line(axes: Any, label: str) -> tuple[list[float], list[float]]:
    """The only line whose label begins so, as x and y."""
    (found,) = (one for one in axes.lines if str(one.get_label()).startswith(label))
    return np.asarray(found.get_xdata(), float).tolist(), np.asarray(found.get_ydata(), float).tolist()


def legend(axes: Any) -> list[str]:
    """What a panel's legend says."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def row_names(axes: Any) -> list[str]:
    """The words beside the rows."""
    return [text.get_text() for text in axes.get_yticklabels()]
