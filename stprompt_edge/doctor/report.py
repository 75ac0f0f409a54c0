"""The findings, and how they are shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType

Status = Literal["ok", "missing", "failed", "info"]

REPORT_SCHEMA = 1
_STYLES: dict[Status, str] = {"ok": "green", "missing": "yellow", "failed": "bold red", "info": "cyan"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. `missing`: something optional is not there; `failed`: something should work and does not."""

    group: str  # heading it stands under
    name: str
    status: Status
    detail: str
    remedy: str = ""  # what to type or do; empty where nothing is wrong


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything `examine` found, in the order shown."""

    version: str  # of stprompt_edge
    seconds: float  # that the examination took
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """What should work here and does not."""
        return tuple(c for c in self.checks if c.status == "failed")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, for JSON."""
        return {
            "schema": REPORT_SCHEMA,
            "stprompt_edge": self.version,
            "seconds": round(self.seconds, 3),
            "checks": [asdict(c) for c in self.checks],
        }


def render(report: Report) -> RenderableType:
    """A table for the terminal; status is a coloured word, so that nothing is lost without colour."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, title=f"stprompt-edge {report.version}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=28)
    table.add_column(overflow="fold")
    for group, checks in groupby(report.checks, key=lambda c: c.group):
        table.add_section()
        table.add_row("", Text(group, style="bold"), "")
        for c in checks:
            detail = Text(c.detail)  # Text, not markup: details hold brackets
            if c.remedy:
                detail.append(f"\nfix: {c.remedy}", style="dim")
            table.add_row(Text(c.status, style=_STYLES[c.status]), Text(c.name), detail)
    return table
