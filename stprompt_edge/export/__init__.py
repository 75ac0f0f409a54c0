"""torch -> bundle: trace, convert, quantize, and refuse what does not agree."""

from stprompt_edge.export.exporting import ExportSettings, Model, export_bundle, export_from_names

__all__ = ["ExportSettings", "Model", "export_bundle", "export_from_names"]
