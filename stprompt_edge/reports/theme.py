"""The colours of pages and charts, by day and by night."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


def matplotlib_style(theme: Theme) -> Any:
    """What matplotlib's `rc_context` takes."""
    return {
        "text.parse_math": False, "font.size": 9, "axes.labelsize": 9, "legend.fontsize": 8, "legend.frameon": False,
        "figure.facecolor": theme.card, "axes.facecolor": "none", "savefig.facecolor": theme.card,
        "text.color": theme.ink, "axes.labelcolor": theme.dim, "axes.edgecolor": theme.rule, "xtick.color": theme.dim,
        "ytick.color": theme.dim, "legend.labelcolor": theme.ink, "axes.grid": True, "grid.color": theme.rule,
        "grid.linewidth": 0.7, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "xtick.labelsize": 8, "ytick.labelsize": 8,
    }  # fmt: skip
