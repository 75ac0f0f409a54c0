"""Renders the clip that the package carries for `stprompt-edge demo`.

python -m demo.scenes.demo_clip [OUT.mp4]
"""

from __future__ import annotations

import sys
from pathlib import Path

from demo.scenes.scene import SceneSpec, render_video
from demo.scenes.video_file import write_video
from stprompt_edge.assets import DEMO_CLIP

DEMO = SceneSpec(
    scene_seed=46,
    seed=31,
    scene="street",
    person_fraction=0.34,
    anomaly="fire and smoke",
    start_s=12.0,
    end_s=22.0,
    seconds=26.0,
    size_wh=(640, 360),
    supersample=2,
)
DEMO_CRF = 28  # keeps 26 s under 1.9 MB


def main(arguments: list[str]) -> None:
    """Writes the clip to the path given, or into the package."""
    to = Path(arguments[0]) if arguments else DEMO_CLIP
    frames = (frame.image_bgr for frame in render_video(DEMO))
    write_video(frames, to, fps=DEMO.fps, size_wh=DEMO.size_wh, crf=DEMO_CRF, preset="slow")


if __name__ == "__main__":
    main(sys.argv[1:])
