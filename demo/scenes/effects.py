"""What a cheap camera adds to the light that reaches it."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import exp, sin

import cv2
import numpy as np

from demo.scenes.lighting import Lighting

HUNT_S = 0.7  # how fast an automatic exposure that jumped comes back
SPARE = 64  # the noise field is larger than the frame by this much and read at a moving offset


class Sensor:
    """Exposure, flicker, vignette, lens blur, noise and the clock of one camera."""

    def __init__(self, rng: np.random.Generator, size_wh: tuple[int, int], lighting: Lighting, indoor: bool) -> None:
        width, height = size_wh
        self._mono = lighting.monochrome
        level = float(rng.uniform(4.5, 8.0) if lighting.dark else rng.uniform(2.0, 4.5))
        luma = rng.normal(0, level, (height + SPARE, width + SPARE, 1))
        chroma = rng.normal(0, 0.45 * level, (height // 2 + SPARE, width // 2 + SPARE, 3))
        blotches = cv2.resize(chroma, (width + SPARE, height + SPARE), interpolation=cv2.INTER_LINEAR)
        self._noise = np.rint(luma + blotches * (0.0 if self._mono else 1.0)).astype(np.int16)
        rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        fall = 1 - float(rng.uniform(0.1, 0.3)) * (rows**2 * 0.6 + columns**2 * 0.8) / 1.4
        self._vignette = cv2.merge([fall] * 3)
        self._blur = float(rng.uniform(0.35, 0.7)) * width / 400
        self._flicker = float(rng.uniform(0.008, 0.025) if indoor else rng.uniform(0.0, 0.006))
        self._drift, self._phase = float(rng.uniform(0.01, 0.05)), float(rng.uniform(0, 6))
        self._hunts_every, self._hunt = float(rng.uniform(5, 13)), float(rng.uniform(-0.12, 0.12))
        self._gain = float(rng.uniform(0.92, 1.08))
        hour = float(rng.uniform(20, 28) if lighting.dark else rng.uniform(8, 17))
        self._clock = datetime(2024, 1, 1) + timedelta(days=int(rng.integers(360)), hours=hour)
        self._name = f"CAM {int(rng.integers(1, 33)):02d}"
        self._offsets = rng.integers(0, SPARE, (509, 2))
        self._stamped = bool(rng.random() < 0.75)

    def exposed(self, light: np.ndarray, index: int, t: float, flash: float) -> np.ndarray:
        """The frame [H, W, 3] uint8 of a picture [H, W, 3] float32, which is overwritten."""
        cloud = 1 + self._drift * sin(0.31 * t + self._phase) + self._flicker * sin(39.1 * t + self._phase)
        since = (t + 2 * self._phase) % self._hunts_every
        hunt = 1 + self._hunt * exp(-since / HUNT_S)
        gain = self._gain * cloud * hunt * (1 + flash)
        cv2.multiply(light, self._vignette, dst=light, scale=gain)
        soft = cv2.GaussianBlur(light, (0, 0), self._blur) if self._blur > 0.3 else light
        frame = cv2.convertScaleAbs(soft)
        if self._mono:
            frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        row, column = self._offsets[index % len(self._offsets)]
        noise = self._noise[row : row + frame.shape[0], column : column + frame.shape[1]]
        frame = cv2.add(frame, noise, dtype=cv2.CV_8U)
        if self._stamped:
            self._stamp(frame, t)
        return frame

    def _stamp(self, frame: np.ndarray, t: float) -> None:
        height = frame.shape[0]
        text = f"{self._name}  {self._clock + timedelta(seconds=int(t)):%Y-%m-%d %H:%M:%S}"
        strip = frame[: height // 11, : int(height * 0.95)]
        ink = np.zeros(strip.shape[:2], np.uint8)
        at = (int(height * 0.03), int(height * 0.065))
        cv2.putText(ink, text, at, cv2.FONT_HERSHEY_SIMPLEX, height / 800, 255, 1, cv2.LINE_AA)
        strip[cv2.dilate(ink, np.ones((3, 3), np.uint8)) > 90] = 24
        strip[:] = np.maximum(strip, ink[..., None])
