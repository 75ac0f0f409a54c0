"""How far a file reaches: what shows that its head or tail is missing."""

from __future__ import annotations

from typing import Any

import av


class Extent:
    """How far packets and frames reach on the time line of their container, in seconds."""

    def __init__(self, stream: Any) -> None:
        self._stream_index, self._tick_s = stream.index, float(stream.time_base)
        self._ticks_s: dict[int, float] = {}  # of each stream: a fraction for every packet would cost more than its use
        self._first_packet_s: float | None = None
        self._last_packet_s = 0.0  # the latest, in order of presentation
        self._first_frame_s: float | None = None
        self._last_frame_s: float | None = None
        self.video_end_s = self.end_s = 0.0  # of the stream that is watched, and of all
        self.is_cut = False  # does the last packet lack its end?

    def add(self, packet: av.Packet[Any]) -> None:
        """Takes the next packet of any stream."""
        self.is_cut = packet.is_corrupt
        if packet.pts is None or packet.is_discard:  # an edit list hides the last kind
            return
        index = packet.stream_index
        tick_s = self._ticks_s.get(index) or self._ticks_s.setdefault(index, float(packet.time_base))
        start_s = packet.pts * tick_s
        end_s = start_s + (packet.duration or 0) * tick_s
        self.end_s = max(self.end_s, end_s)
        if index == self._stream_index:
            self.video_end_s = max(self.video_end_s, end_s)
            self._last_packet_s = max(self._last_packet_s, start_s)
            if self._first_packet_s is None:
                self._first_packet_s = start_s

    def add_frame(self, frame: av.VideoFrame) -> None:
        """Takes the next frame that the decoder gives."""
        if frame.pts is None:
            return
        seconds = frame.pts * self._tick_s  # the last frames, which a decoder held back, have no tick of their own
        self._first_frame_s = seconds if self._first_frame_s is None else self._first_frame_s
        self._last_frame_s = seconds if self._last_frame_s is None else max(seconds, self._last_frame_s)

    @property
    def late_s(self) -> float:
        """From the first packet to the first frame."""
        first, shown = self._first_packet_s, self._first_frame_s
        return 0.0 if first is None or shown is None else shown - first

    @property
    def undecoded_s(self) -> float:
        """From the last frame to the last packet."""
        return 0.0 if self._last_frame_s is None else self._last_packet_s - self._last_frame_s
