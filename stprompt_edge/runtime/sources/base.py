"""What every source of camera frames is."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType

from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import Losses, SourceInfo


class Source(ABC):
    """An open source of camera frames; a context manager that yields its frames once, in order.

    Attributes:
        info: what is known of the source.
        planar: which camera frames to give in their decoder's planes where it can (see `PlanarFrame`), instead of as
            pictures; none unless somebody sets it.
        losses: what came damaged or not at all, so far.
        warnings: lines for the user; complete when `frames` has ended.
        finite: does it have an end of its own, even if it is played as live?
        reopened: how often a live source was lost and came back.
        restarted_at: `CameraFrame.index` of the first frame after the last time: nothing before it tells of motion.
        check: asked between two reads; raises SourceError to end `frames`.
        interrupted: set by `interrupt`.
    """

    def __init__(self) -> None:
        self.info: SourceInfo
        self.planar: Callable[[int], bool] = lambda index: False
        self.losses = Losses()
        self.warnings: list[str] = []
        self.finite = True
        self.reopened = 0
        self.restarted_at: int | None = None
        self.check: Callable[[], None] = lambda: None
        self.interrupted = threading.Event()

    @abstractmethod
    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        """Walks over all camera frames and yields those whose 0-based index is `wanted`, unless they came damaged.

        `CameraFrame.image_bgr` is [H, W, 3] uint8 BGR, upright, owned by the receiver; its size may change in a stream.
        `CameraFrame.seconds` always increases. It is 0 with the first frame of a live source, and where a player shows
        0 in a file: some files hold no picture for their first seconds.

        Raises:
            SourceError: a connection stopped sending; a file never raises, see `warnings`, nor does a live source that
                heals, see `live`.
        """

    def interrupt(self) -> None:
        """Nobody wants more frames, says another thread: what waits for a camera to come back ends at once."""
        self.interrupted.set()

    @abstractmethod
    def close(self) -> None:
        """Releases file, socket or device. May be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
