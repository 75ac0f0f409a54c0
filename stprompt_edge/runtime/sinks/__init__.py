"""Where results go."""

from stprompt_edge.runtime.sinks.folder import OutputFolder

__all__ = ["OutputFolder"]
