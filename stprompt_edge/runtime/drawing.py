"""Pictures for people: heat, boxes and the score strip. Pure functions on BGR uint8 arrays of shape [H, W, 3].

Text is drawn with OpenCV's own font: OpenCV 5 draws any script, OpenCV 4 draws "?" for what is not ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.records import Box

# BGR; the same hues as report.html
ALARM = (68, 68, 239)
CALM = (248, 189, 56)
_STRIP = (26, 21, 17)
_STRIP_RAISED = (44, 36, 30)
_TEXT = (240, 236, 232)
_DIM = (158, 148, 138)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_FONT_SCALE = 0.34  # below it OpenCV's letters run together
_NARROW = 96  # pixels; a narrower picture has no room for words
_CLOCK_WIDTH = 560  # pixels; from here on the strip has room for a clock


@dataclass(frozen=True, kw_only=True)
class StripSample:
    """One sampled frame in the history that the strip shows."""

    seconds: float
    score: float  # 0..1
    alarm: bool
    label: str = ""  # shown while alarmed, where there is room: the class


@dataclass(frozen=True, kw_only=True)
class StripStyle:
    """What stays the same in every strip of a video."""

    threshold_on: float  # 0..1, where the alarm starts
    span_seconds: float = 30.0  # how much history is visible; the right edge is now


def overlay_heat(image_bgr: NDArray[np.uint8], heat_map: NDArray[np.float32], alpha: float = 0.6) -> NDArray[np.uint8]:
    """Lays a heat map over a picture; cold areas stay as they were (opacity grows with the heat).

    Args:
        image_bgr: [H, W, 3] BGR uint8, at least 1 x 1; not changed.
        heat_map: [h, w] float, 0..1 (values outside and NaN are clipped, NaN to 0); resized bilinearly to the picture.
        alpha: opacity at heat 1, 0..1.

    Returns:
        A new [H, W, 3] BGR uint8.
    """
    height, width = image_bgr.shape[:2]
    heat = np.clip(np.nan_to_num(np.asarray(heat_map, np.float32)), 0.0, 1.0)
    heat = np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)  # [H, W]
    colour = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    weight = heat * np.float32(alpha)
    return np.asarray(cv2.blendLinear(colour, image_bgr, weight, 1.0 - weight), np.uint8)


def draw_boxes(
    image_bgr: NDArray[np.uint8], boxes: Sequence[Box], label: str, *, scale: float = 1.0
) -> NDArray[np.uint8]:
    """Draws each box with `label` and its probability.

    Args:
        image_bgr: [H, W, 3] BGR uint8; not changed.
        boxes: in pixels of a picture that is 1/`scale` times as large; parts outside are cut off.
        label: shown before the probability, e.g. the class.
        scale: pixels of `image_bgr` per pixel of the boxes.

    Returns:
        A new [H, W, 3] BGR uint8.
    """
    canvas: NDArray[np.uint8] = image_bgr.copy()
    height, width = canvas.shape[:2]
    thickness = max(1, round(min(height, width) / 160))
    for box in boxes:
        x0, y0 = (min(max(round(v * scale), 0), limit - 1) for v, limit in ((box.x0, width), (box.y0, height)))
        x1, y1 = (min(max(round(v * scale) - 1, 0), limit - 1) for v, limit in ((box.x1, width), (box.y1, height)))
        cv2.rectangle(canvas, (x0, y0), (x1, y1), ALARM, thickness, cv2.LINE_8)
        if width >= _NARROW:
            _draw_tag(canvas, f"{label} {box.probability:.2f}", x0, y0, y1)
    return canvas


def strip_height(width: int) -> int:
    """Even height in pixels of the strip under a picture of this width: slim, but with room for its text."""
    if width < _NARROW:
        return 16
    return 2 * min(max(round(width * 0.03), 17), 28)


def draw_score_strip(width: int, samples: Sequence[StripSample], *, now: float, style: StripStyle) -> NDArray[np.uint8]:
    """The strip below a picture: current score, rolling history up to `now`, tick at the threshold, red while alarmed.

    Args:
        width: pixels, at least 1.
        samples: ordered by time, the last is the current one; empty means no score yet.
        now: seconds of the picture above.
        style: see `StripStyle`.

    Returns:
        [strip_height(width), width, 3] BGR uint8.
    """
    strip = np.full((strip_height(width), width, 3), _STRIP, np.uint8)
    current = samples[-1] if samples else None
    left = right = 0
    if width >= _NARROW:
        left = min(max(round(width * 0.24), 92), 216)
        strip[:, :left] = _STRIP_RAISED
        _draw_reading(strip[:, :left], current)
    if width >= _CLOCK_WIDTH:
        right = 84
        _draw_clock(strip[:, width - right :], now)
    _draw_history(strip[:, left : width - right], samples, now, style)
    if current is not None and current.alarm:
        strip[:2] = ALARM
        strip[:, : max(2, width // 200)] = ALARM
    return strip


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours once there are any.

    >>> clock(67.24), clock(3671.0), clock(59.96)
    ('1:07.2', '1:01:11', '1:00.0')
    """
    tenths = round(max(seconds, 0.0) * 10)
    minutes, tenths = divmod(tenths, 600)
    if minutes < 60:
        return f"{minutes}:{tenths // 10:02d}.{tenths % 10}"
    return f"{minutes // 60}:{minutes % 60:02d}:{tenths // 10:02d}"


def _draw_reading(area: NDArray[np.uint8], current: StripSample | None) -> None:
    """Score in large, its meaning in small; drawn into `area` [h, w, 3]."""
    height, width = area.shape[:2]
    pad = max(5, width // 18)
    if current is None:
        _put_text(area, "no score yet", pad, round(height * 0.62), height * 0.28, _DIM, width - 2 * pad)
        return
    colour = ALARM if current.alarm else CALM
    big = height * 0.42
    baseline = round((height + big) / 2)
    used = _put_text(area, f"{current.score:.2f}", pad, baseline, big, colour, width)
    roomy = height >= 44  # pictures from about 740 pixels wide
    word = (current.label if roomy and current.label else "ALARM") if current.alarm else ("score" if roomy else "")
    small = height * (0.24 if roomy else 0.26)
    word_x = pad + used + (pad if roomy else 5)
    _put_text(area, word, word_x, baseline, small, colour if current.alarm else _DIM, width - word_x - 2)


def _draw_clock(area: NDArray[np.uint8], now: float) -> None:
    height, width = area.shape[:2]
    text, size = clock(now), height * 0.26
    wide = cv2.getTextSize(text, _FONT, _font_scale(size), 1)[0][0]
    _put_text(area, text, max(width - wide - 10, 0), round((height + size) / 2), size, _DIM, width)


def _draw_history(area: NDArray[np.uint8], samples: Sequence[StripSample], now: float, style: StripStyle) -> None:
    """Scores as a filled step curve over [now - span, now], drawn into `area` [h, w, 3]; each holds until the next."""
    height, width = int(area.shape[0]), int(area.shape[1])
    if width < 1:
        return
    margin = 4 if height > 16 else 2
    level = height - 1 - margin, margin  # rows of score 0 and 1

    def row_of(score: float) -> int:
        return round(level[0] + (level[1] - level[0]) * min(max(score, 0.0), 1.0))

    def x_of(seconds: float) -> int:
        return round((seconds - now + style.span_seconds) / style.span_seconds * (width - 1))

    ends = [sample.seconds for sample in samples[1:]] + [max(now, samples[-1].seconds)] if samples else []
    previous: int | None = None
    for sample, end in zip(samples, ends, strict=True):
        x0, x1 = max(x_of(sample.seconds), 0), min(x_of(end), width - 1)
        if x1 < 0 or x0 > width - 1:
            continue
        colour, row = (ALARM if sample.alarm else CALM), row_of(sample.score)
        area[row : level[0] + 1, x0 : x1 + 1] = _mix(colour, _STRIP, 0.35)
        cv2.line(area, (x0, row), (x1, row), colour, 1)
        if previous is not None:
            cv2.line(area, (x0, previous), (x0, row), colour, 1)
        previous = row
    threshold = row_of(style.threshold_on)
    dash = np.arange(width) % 8 < 4
    area[threshold, dash] = _mix(_TEXT, _STRIP, 0.55)
    area[threshold, -min(8, width) :] = _TEXT  # the tick at "now"


def _draw_tag(canvas: NDArray[np.uint8], text: str, x0: int, y0: int, y1: int) -> None:
    """White text on a red plate: above the box, else below it, else inside; always inside the picture."""
    height, width = canvas.shape[:2]
    size = min(max(height * 0.034, 9.0), 15.0)
    text = _shortened(text, _font_scale(size), width - 8)
    (wide, tall), base = cv2.getTextSize(text, _FONT, _font_scale(size), 1)
    plate = tall + base + 5
    top = y0 - plate if y0 >= plate else (y1 + 1 if y1 + 1 + plate <= height else y0)
    left = max(min(x0, width - wide - 8), 0)
    cv2.rectangle(canvas, (left, top), (left + wide + 7, top + plate - 1), ALARM, cv2.FILLED)
    cv2.putText(canvas, text, (left + 4, top + tall + 3), _FONT, _font_scale(size), (255, 255, 255), 1, cv2.LINE_AA)


def _put_text(
    area: NDArray[np.uint8], text: str, x: int, y: int, size: float, colour: tuple[int, int, int], room: float
) -> int:
    """Draws with the baseline at (x, y), cut at `room` pixels; returns the width in pixels."""
    scale = _font_scale(size)
    text = _shortened(text, scale, room)
    cv2.putText(area, text, (x, y), _FONT, scale, colour, 1, cv2.LINE_AA)
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _font_scale(size: float) -> float:
    """OpenCV's scale for capitals `size` pixels tall: they are about 21 pixels at scale 1 (measured, 4.x and 5.0)."""
    return max(size / 21.0, _MIN_FONT_SCALE)


def _shortened(text: str, scale: float, room: float) -> str:
    if cv2.getTextSize(text, _FONT, scale, 1)[0][0] <= room:
        return text
    while len(text) > 1 and cv2.getTextSize(text + "..", _FONT, scale, 1)[0][0] > room:
        text = text[:-1]
    return text + ".."


def _mix(front: tuple[int, int, int], back: tuple[int, int, int], alpha: float) -> tuple[int, int, int]:
    b, g, r = (round(alpha * f + (1 - alpha) * k) for f, k in zip(front, back, strict=True))
    return b, g, r
