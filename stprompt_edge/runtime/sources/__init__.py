"""Where frames come from: a video file, a folder of images, a URL, a V4L2 camera or a GStreamer pipeline.

`resolve_source` turns what the user typed into a `CameraConfig`; `open_source` turns its `source` into a `Source`.
A `Source` ends with its file or recording; a live one is reopened whenever it is lost, see `live`.
"""

from stprompt_edge.runtime.cameras import CameraConfig, load_camera, resolve_source
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.clock import ASSUMED_FPS, Clock
from stprompt_edge.runtime.sources.image_times import check_fps
from stprompt_edge.runtime.sources.images import IMAGE_SUFFIXES, pictures_of
from stprompt_edge.runtime.sources.opening import expected_frames, open_source

__all__ = [
    "ASSUMED_FPS",
    "IMAGE_SUFFIXES",
    "CameraConfig",
    "Clock",
    "Source",
    "check_fps",
    "expected_frames",
    "load_camera",
    "open_source",
    "pictures_of",
    "resolve_source",
]
