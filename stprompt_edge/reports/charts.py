"""What charts share: one is drawn in any theme, and holds to the same lines, names and numbers as the others.

matplotlib's object interface only: no global state, no window.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stprompt_edge.imports import import_failure
from stprompt_edge.reports.theme import Theme, matplotlib_style

DPI = 200
WIDTH_IN = 4.8  # half a page wide: on a phone its words keep their size
DOTTED = {"lw": 0.8, "ls": (0, (2, 4))}  # what is compared with
DASHED = {"lw": 0.8, "ls": (0, (5, 4))}  # a limit


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture that can be drawn in any theme."""

    name: str  # of its file, without suffix
    title: str
    caption: str  # what it shows, for those who do not see it as well
    height_in: float
    draw: Callable[[Any, Theme], None]  # onto a matplotlib Figure
    width_in: float = WIDTH_IN

    def png(self, theme: Theme, *, transparent: bool = False) -> bytes:
        """The picture. The same evaluation gives the same bytes with the same matplotlib."""
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context(matplotlib_style(theme)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a video's name in any script
            figure = Figure(figsize=(self.width_in, self.height_in), dpi=DPI, layout="constrained")
            self.draw(figure, theme)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", transparent=transparent, metadata={"Software": None})
        return buffer.getvalue()


def require_matplotlib() -> None:
    """Raises EnvironmentFailure where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as exc:
        raise import_failure("matplotlib", exc, remedy='pip install "stprompt-edge[train]"') from exc


def percent(*axis: Any) -> None:
    """Shares of 1 as per cent."""
    for one in axis:
        one.set_major_formatter(lambda share, _: f"{share:.0%}")


def shortened(text: str, length: int) -> str:
    """The end tells names apart."""
    return text if len(text) <= length else "…" + text[1 - length :]


def named_rows(axes: Any, names: Sequence[str], *, length: int, size: int) -> None:
    """A row for each name, the first on top; a name of more than `length` characters loses its beginning."""
    axes.set_yticks(range(len(names)), [shortened(name, length) for name in names], fontsize=size)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
