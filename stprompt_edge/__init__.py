"""Video anomaly detection and localization from video-level labels, from training to the edge."""

import os

__version__ = "0.1.0"

# Nothing reports on its own. Both libraries look when they are imported, which is after this; what the user has set
# stays. ONNX Runtime 1.32 writes a device id below ~/.cache, and its `disable_telemetry_events` comes too late.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")
