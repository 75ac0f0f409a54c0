"""Video anomaly detection and localization from video-level labels, from training to the edge."""

__version__ = "0.1.0"
