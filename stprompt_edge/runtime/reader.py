"""Decoding on a thread of its own, behind a bounded queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.sources import Source
from stprompt_edge.runtime.timing import StageTimer

_CAPACITY = 4  # frames; decoding is bursty, but a full-size frame of a 4K camera is 25 MB
_POLL_SECONDS = 0.2  # how soon a stop is noticed


class FrameReader:
    """Iterates over a source's frames, decoded ahead by a thread; a context manager.

    A file drops no frame. A live source drops the oldest waiting one, and counts it, so that the newest wins.

    Args:
        source: open; closed by its owner after this reader.
        wanted: which camera frames to convert and yield.
        stop: set by anyone to end the iteration soon.
        max_frames: camera frames to look at; None for all.
    """

    def __init__(
        self, source: Source, wanted: Callable[[int], bool], stop: threading.Event, max_frames: int | None = None
    ) -> None:
        self.camera_frames = 0
        self.dropped_frames = 0
        self.timer = StageTimer()
        self._source = source
        self._wanted = wanted
        self._stop = stop
        self._closing = threading.Event()
        self._max_frames = max_frames
        self._queue: queue.Queue[CameraFrame | None] = queue.Queue(_CAPACITY)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="decode", daemon=True)

    def __enter__(self) -> FrameReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._source.interrupt()
        self._thread.join(timeout=15.0)  # longer than the read time-out of a source

    def __iter__(self) -> Iterator[CameraFrame]:
        """Frames in order.

        Raises:
            Exception: what the source or the decoding thread raised, after the frames before it.
        """
        while not self._stop.is_set():
            try:
                frame = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if frame is None:
                break
            yield frame
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            start = time.perf_counter()
            for frame in self._source.frames(self._counted):
                self.timer.add("decode", time.perf_counter() - start)
                if self._is_over(frame.index) or not self._put(frame):
                    break
                start = time.perf_counter()
        except BaseException as exc:  # handed to the owner, who raises it
            self._error = exc
        self._put(None)

    def _counted(self, index: int) -> bool:
        if self._is_over(index):
            return True  # a frame that ends the iteration must come through
        self.camera_frames = index + 1
        return self._wanted(index)

    def _is_over(self, index: int) -> bool:
        return self._max_frames is not None and index >= self._max_frames

    def _put(self, frame: CameraFrame | None) -> bool:
        """Queue a frame, or None for the end; False once nobody reads any more."""
        while not (self._stop.is_set() or self._closing.is_set()):
            try:
                self._queue.put(frame, block=not self._source.info.live, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                if self._source.info.live:
                    self._drop_oldest()
        return False

    def _drop_oldest(self) -> None:
        try:
            self._queue.get_nowait()
            self.dropped_frames += 1
        except queue.Empty:
            pass  # the reader took it in the meantime
