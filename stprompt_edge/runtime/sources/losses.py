"""What a stream lost, and the lines that say it: how much, and where. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from stprompt_edge.runtime.records import Losses
from stprompt_edge.runtime.sources.clock import NAMED_GAPS, FrameDistances

Span = tuple[float, float]  # seconds: from, to


class Spans:
    """Where frames stand that are not given out: the first stretches of them, NAMED_GAPS at most."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.more = False  # are there others?
        self._open = False  # was the frame before one of them?

    def add(self, seconds: float, inside: bool) -> None:
        """Takes the next frame."""
        if inside and self._open and not self.more:
            self.spans[-1] = (self.spans[-1][0], seconds)
        elif inside and not self._open:
            self.more = len(self.spans) == NAMED_GAPS
            self.spans += [] if self.more else [(seconds, seconds)]
        self._open = inside


def damage_warnings(losses: Losses, distances: FrameDistances, untrusted: Spans, *, live: bool) -> list[str]:
    """One line about everything that came damaged or not at all, one about steps of time.

    Args:
        losses: complete.
        distances: of all frames that the decoder gave.
        untrusted: where the frames are that were not given out.
        live: a stream, else a file.
    """
    parts = []
    if losses.missing_frames:
        parts.append(f"{_counted(losses.missing_frames, 'frame')} missing{_places(distances.gaps)}")
    kinds = (losses.corrupt_frames, "corrupt"), (losses.concealed_frames, "concealed")
    if counts := [f"{count} {kind}" for count, kind in kinds if count]:
        plural = "s" if losses.corrupt_frames + losses.concealed_frames > 1 else ""
        places = _places(untrusted.spans, more=untrusted.more)
        parts.append(f"{' and '.join(counts)} frame{plural} not scored{places}")
    if losses.undecodable_packets:
        parts.append(f"{_counted(losses.undecodable_packets, 'packet')} undecodable")
    lines = [f"{'stream came' if live else 'file is'} damaged: {', '.join(parts)}"] if parts else []
    return [*lines, *(f"time jumps from {start:.2f} to {end:.2f} s" for start, end in distances.jumps)]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _places(spans: Sequence[Span], *, more: bool = False) -> str:
    """In brackets, behind what is there."""
    texts = [f"{start:.2f} to {end:.2f} s" if end > start else f"at {start:.2f} s" for start, end in spans]
    return f" ({', '.join(texts)}{', ...' if more else ''})" if texts else ""
