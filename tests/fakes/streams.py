"""The order in which a CUDA device does what it is told, as late as CUDA may: nothing happens before somebody waits.

The rules, and what they stand for (CUDA C++ Programming Guide, "Asynchronous Concurrent Execution"; CUDA Driver API,
"API synchronization behavior" and "Stream synchronization behavior"):

queueing    Kernels, `..._async` copies and memsets, launches of graphs and `execute_async_v3` return at once. They run
            when their stream, an event behind them or the context is waited for. What they read of the host is read
            then; what they are to write there is POISON until then.
streams     Work of a stream runs in its order; an event that is waited for orders two streams.
default     The default stream, 0, waits for all earlier work of blocking streams, and they for its. A stream made with
            NON_BLOCKING neither waits for it nor is waited for: only an event or the context orders the two.
memset_d32  goes to the default stream and does not wait.
memcpy_htod waits for what is before it and takes the bytes; that they arrive on the device is work of the default
            stream: the driver stages what is not pinned, and returns.
memcpy_dtoh waits for what is before it and for itself.
recording   Work of a stream that is being captured is kept for the graph; waiting and allocating are refused meanwhile.
freeing     what queued work uses is an error of ours: some calls of the driver wait by themselves, none promises to.
races       Work that touches what earlier work of an unordered stream touches is an error, even if both only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

POISON = 0xFF  # in every byte: NaN as any float, -1 as an index
DEFAULT = 0  # handle of the default stream
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


@dataclass(frozen=True, kw_only=True)
class Work:
    """One piece of it: what it does, the allocations it uses, and arrays of the host that it writes."""

    run: Callable[[], None]
    uses: frozenset[Any] = frozenset()
    writes: tuple[NDArray[Any], ...] = ()


@dataclass(eq=False)
class Queued:
    """Work on a stream, behind other work."""

    work: Work
    stream: int
    behind: set[Queued] = field(default_factory=set)


class Streams:
    """All streams of a device, by handle."""

    def __init__(self) -> None:
        self.pending: list[Queued] = []  # in the order in which they were put here
        self.recorded: list[Work] | None = None  # while `recording` is being captured
        self.recording = DEFAULT
        self.non_blocking: set[int] = set()
        self._made = 76

    def add(self, flags: int) -> int:
        """A new stream."""
        self._made += 1
        if flags & NON_BLOCKING:
            self.non_blocking.add(self._made)
        return self._made

    def put(self, stream: int, work: Work, behind: Iterable[Queued] = ()) -> Queued:
        """At the end of a stream, or of the graph that is recorded of it."""
        assert not any(allocation.freed for allocation in work.uses), "it uses memory that was freed"
        if self.recorded is not None and stream == self.recording:
            self.recorded.append(work)
            return Queued(work, stream)
        before = {queued for queued in self.pending if self._ordered(queued.stream, stream)}
        queued = Queued(work, stream, before.union(behind))
        self.pending.append(queued)
        for array in work.writes:
            array.view("u1").reshape(-1)[:] = POISON
        return queued

    def run(self, until: Iterable[Queued]) -> None:
        """These and what is before them, in order."""
        needed = set(until)
        for queued in reversed(self.pending):
            if queued in needed:
                needed |= queued.behind
        for queued in [queued for queued in self.pending if queued in needed]:
            earlier = self.pending[: self.pending.index(queued)]
            self.pending.remove(queued)
            queued.behind.clear()
            assert not any(other.work.uses & queued.work.uses for other in earlier), "races with another stream"
            queued.work.run()

    def wait(self, stream: int) -> None:
        """Until a stream has nothing to do; the default stream's: nor has one that it waits for."""
        self.run([queued for queued in self.pending if self._ordered(queued.stream, stream)])

    def check_unused(self, allocation: Any) -> None:
        """It is about to be freed."""
        assert not any(allocation in queued.work.uses for queued in self.pending), "freed while queued work uses it"

    def _ordered(self, first: int, second: int) -> bool:
        return first == second or (DEFAULT in (first, second) and not self.non_blocking & {first, second})
