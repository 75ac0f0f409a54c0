"""What every source of camera frames is, and its clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import TracebackType

from stprompt_edge.runtime.records import CameraFrame, SourceInfo

ASSUMED_FPS = 25.0  # where nothing tells the rate: PAL's


class Source(ABC):
    """An open source of camera frames; a context manager that yields its frames once, in order.

    Attributes:
        info: what is known of the source.
        planar: which camera frames to give in their decoder's planes where it can (see `PlanarFrame`), instead of as
            pictures; none unless somebody sets it.
        undecodable_packets: damaged packets or images so far.
        warnings: lines for the user; complete when `frames` has ended.
    """

    def __init__(self) -> None:
        self.info: SourceInfo
        self.planar: Callable[[int], bool] = lambda index: False
        self.undecodable_packets = 0
        self.warnings: list[str] = []

    @abstractmethod
    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        """Walks over all camera frames and yields those whose 0-based index is `wanted`.

        `CameraFrame.image_bgr` is [H, W, 3] uint8 BGR, upright, owned by the receiver; its size may change in a stream.
        `CameraFrame.seconds` starts at 0 with the first frame and always increases.

        Raises:
            SourceError: a URL or camera stopped sending; a file never raises, see `warnings`.
        """

    @abstractmethod
    def close(self) -> None:
        """Releases file, socket or device. May be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Clock:
    """Seconds since the first frame; a missing or repeated time stamp becomes the previous one plus a frame."""

    def __init__(self, time_base: Fraction, fps: float) -> None:
        self._time_base = time_base
        self._frame_s = 1 / (fps or ASSUMED_FPS)
        self._origin: int | None = None
        self._last_s: float | None = None

    def seconds(self, pts: int | None) -> float:
        if self._last_s is None:
            self._origin, self._last_s = pts, 0.0
            return 0.0
        if self._origin is None and pts is not None:  # the first frame had no time stamp
            self._origin = pts - round((self._last_s + self._frame_s) / self._time_base)
        now_s = -1.0 if pts is None or self._origin is None else float((pts - self._origin) * self._time_base)
        self._last_s = now_s if now_s > self._last_s else self._last_s + self._frame_s
        return self._last_s
