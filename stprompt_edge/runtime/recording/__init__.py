"""Where results go."""

from stprompt_edge.runtime.recording.folder import OutputFolder

__all__ = ["OutputFolder"]
