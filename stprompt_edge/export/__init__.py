"""torch -> bundle: trace, convert, quantize, and refuse what does not agree. `export.engine` goes on without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stprompt_edge.export.exporting import ExportSettings, Model, export_bundle, export_from_names

__all__ = ["ExportSettings", "Model", "export_bundle", "export_from_names"]


def __getattr__(name: str) -> Any:
    """The names above, imported with torch when they are first used: a device that builds engines does not have it."""
    if name in __all__:
        from stprompt_edge.export import exporting

        return getattr(exporting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
