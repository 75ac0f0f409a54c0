"""The scores of a file, and where in the picture.

Run it as it is, `python examples/score_a_file.py`, or with a video and a bundle of your own:
`python examples/score_a_file.py some.mp4 bundle`.
"""

# %%
# A bundle is a folder that `stprompt-edge export` wrote. The one that ships with the package knows rendered scenes
# only: it shows how everything works, and its scores mean little on real footage.
import sys

import stprompt_edge as se
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP

video, bundle = sys.argv[1:] or (DEMO_CLIP, DEMO_BUNDLE)

# %%
# `load` checks every file of the bundle and opens the fastest backend of this machine. `score` reads the whole file and
# gives arrays, one row for each sampled frame.
with se.load(bundle) as model:
    scores = model.score(video)

peak = int(scores.scores.argmax())
print(f"{len(scores.scores)} sampled frames, highest score {scores.scores[peak]:.2f} at {scores.seconds[peak]:.1f} s")

# %%
# `watch` gives the same frames one by one, as they come. Boxes cost a second, larger encoder call, so by default they
# are there while the alarm is on; `localize="always"` gives all of them. Coordinates are pixels of the camera's frame.
with se.load(bundle) as model:
    for detection in model.watch(video):
        if detection.alarm:
            boxes = ", ".join(str(tuple(int(value) for value in box)) for box in detection.boxes_xyxy)
            print(f"{detection.seconds:6.1f} s  {detection.score:.2f}  {detection.top_class:<16} {boxes}")
