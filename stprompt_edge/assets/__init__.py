"""What ships inside the package: the demo bundle and clip.

The small CLIP that the bundle was exported from lies beside them in the repository, and in no wheel.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["DEMO_BUNDLE", "DEMO_CLIP", "DEMO_MODEL", "DEMO_WEIGHTS"]

DEMO_MODEL = "stprompt-demo-16"  # the small CLIP's name: where it is trained, it sees rendered scenes only

_DEMO = Path(str(resources.files(__name__))) / "demo"
DEMO_CLIP = _DEMO / "clip.mp4"
DEMO_BUNDLE = _DEMO / "bundle"
DEMO_WEIGHTS = _DEMO / "clip-weights.safetensors"
