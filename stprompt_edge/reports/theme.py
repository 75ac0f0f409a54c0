"""A picture that matplotlib draws, by day and by night: the colours of the pages, and what every chart shares.

matplotlib's object interface only: no global state, no window.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stprompt_edge.imports import import_failure

DPI = 200
WIDTH_IN = 4.8  # half a page wide: on a phone its words keep their size


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a page; the same as house.css."""

    card: str
    ink: str
    dim: str
    rule: str
    calm: str
    alarm: str
    good: str
    warn: str


LIGHT = Theme(
    card="#ffffff", ink="#12181f", dim="#5b6875", rule="#dfe5ea", calm="#0b7fb3", alarm="#d92d3a", good="#12805c",
    warn="#f5a623",
)  # fmt: skip
DARK = Theme(
    card="#171d23", ink="#e8ecf0", dim="#93a0ad", rule="#29323b", calm="#38bdf8", alarm="#ff6b6b", good="#4fd1a1",
    warn="#f2b84b",
)  # fmt: skip


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

        with matplotlib.rc_context(_style(theme)), warnings.catch_warnings():
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


def _style(theme: Theme) -> Any:
    return {
        "text.parse_math": False, "font.size": 9, "axes.labelsize": 9, "legend.fontsize": 8, "legend.frameon": False,
        "figure.facecolor": theme.card, "axes.facecolor": "none", "savefig.facecolor": theme.card,
        "text.color": theme.ink, "axes.labelcolor": theme.dim, "axes.edgecolor": theme.rule, "xtick.color": theme.dim,
        "ytick.color": theme.dim, "legend.labelcolor": theme.ink, "axes.grid": True, "grid.color": theme.rule,
        "grid.linewidth": 0.7, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "xtick.labelsize": 8, "ytick.labelsize": 8,
    }  # fmt: skip


def percent(*axis: Any) -> None:
    for one in axis:
        one.set_major_formatter(lambda share, _: f"{share:.0%}")


def shortened(text: str, length: int) -> str:
    """The end tells names apart."""
    return text if len(text) <= length else "…" + text[1 - length :]
