"""Alarms into something of your own: a relay, a ticket, a line in a file.

A sink is any object with two methods. This one writes a line of JSON when an event opens and when it is over, and keeps
the picture of its peak. Run it as it is, `python examples/own_sink.py`, or with a source of your own.
"""

# %%
import json
import sys
import tempfile
from pathlib import Path

import cv2

import stprompt_edge as se
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP

folder = Path(tempfile.mkdtemp(prefix="alarms-"))


# %%
# `detection` comes for each sampled frame, `change` after it for what it changed: an event has `opened`, has a new peak
# (`updated`), or is over (`closed`). All changes of an event carry its id, and ids sort by time.
class Lines:
    """Events as lines of JSON on stdout, and a picture of each event's peak."""

    def detection(self, detection, frame):
        self.latest = frame

    def change(self, change):
        event = change.event
        if change.kind != "closed":  # the latest frame is the peak so far
            cv2.imwrite(str(folder / f"{event.id}.jpg"), self.latest.image_bgr)
        if change.kind != "updated":
            line = {"event": event.id, "camera": event.camera, "what": change.kind, "class": event.top_class}
            print(json.dumps({**line, "at": round(change.seconds, 1), "peak": round(event.peak_score, 3)}))


# %%
# The loop itself has nothing to do here: the sink is told on the way. A live source goes on until it is stopped.
with se.load(DEMO_BUNDLE) as model:
    for _ in model.watch(sys.argv[1] if len(sys.argv) > 1 else DEMO_CLIP, localize="never", sinks=[Lines()]):
        pass
print(f"{len(list(folder.glob('*.jpg')))} pictures in {folder}")
