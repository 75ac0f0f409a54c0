"""Frames that your application already has.

A robot, a recorder, a video wall: the pictures are there, and only the scores are missing. Run it as it is,
`python examples/own_frames.py`, or with a video of your own to take the pictures from.
"""

# %%
# OpenCV stands in for the application here. Pictures are uint8 arrays of shape [height, width, 3], BGR and upright.
import sys

import cv2

import stprompt_edge as se
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP

capture = cv2.VideoCapture(str(sys.argv[1] if len(sys.argv) > 1 else DEMO_CLIP))
fps = capture.get(cv2.CAP_PROP_FPS)

# %%
# A stream is one camera: its motion, its memory of the last frames and its alarm belong to it. Give it every frame, it
# samples as many a second as in training. `push` gives back what became known: nothing for most frames, and with
# centered motion each result comes one sampled frame later, so `flush` gives the last.
with se.load(DEMO_BUNDLE) as model, model.stream(fps=fps) as camera:
    was_on = False
    while capture.isOpened():
        there, image_bgr = capture.read()
        for detection in camera.push(image_bgr) if there else camera.flush():
            if detection.alarm != was_on:
                state = "on" if detection.alarm else "off"
                print(f"{detection.seconds:6.1f} s  alarm {state}: {detection.top_class}")
            was_on = detection.alarm
        if not there:
            capture.release()
