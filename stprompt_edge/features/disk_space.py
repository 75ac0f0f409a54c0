"""What an extraction will write, and whether the disk has room for it, before the first video is read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.features.files import estimate_bytes, header_bytes
from stprompt_edge.features.records import FeatureOrigin
from stprompt_edge.files import disk_errors

BLOCK_BYTES = 4096  # what a file occupies is rounded up to blocks of its file system, on nearly all of them to these
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class DiskNeed:
    """What is about to be written, and what is free.

    Args:
        sampled_frames: of each video, by name; None where its container does not tell, or cannot be read.
        stride: camera frames per sampled frame.
        keep_windows: whether windows are kept.
        file_bytes: of all feature files and the index.
        aggregated_bytes: the same without windows.
        free_bytes: on the disk of the output folder.
    """

    sampled_frames: Mapping[str, int | None]
    stride: int
    keep_windows: bool
    file_bytes: int
    aggregated_bytes: int
    free_bytes: int

    @property
    def weights(self) -> dict[str, float]:
        """The share of each video in the work: its sampled frames, or the mean of the others where they are unknown."""
        known = [count for count in self.sampled_frames.values() if count is not None]
        mean = sum(known) / len(known) if known else 1.0
        return {name: mean if count is None else count for name, count in self.sampled_frames.items()}

    @property
    def line(self) -> str:
        """For people, before the first video."""
        known = [count for count in self.sampled_frames.values() if count is not None]
        unknown = len(self.sampled_frames) - len(known)
        lost = f" ({unknown} more of unknown length, not counted)" if unknown else ""
        kept = "windows" if self.keep_windows else "aggregated"
        return (
            f"{len(self.sampled_frames)} videos to extract, about {sum(known):,} sampled frames at stride "
            f"{self.stride}{lost}: about {readable(self.file_bytes)} with --keep {kept}, "
            f"{readable(self.free_bytes)} free"
        )

    def check(self, out: Path) -> None:
        """Is there room?

        Raises:
            EnvironmentFailure: no; says what fits, if anything does.
        """
        if self._occupied(self.file_bytes) <= self.free_bytes:
            return
        smaller = ""
        if self.keep_windows and self._occupied(self.aggregated_bytes) <= self.free_bytes:
            smaller = f", --keep aggregated (about {readable(self.aggregated_bytes)})"
        raise EnvironmentFailure(
            f"{out} has {readable(self.free_bytes)} free, the features of {len(self.sampled_frames)} videos need about "
            f"{readable(self._occupied(self.file_bytes))}",
            remedy=f"free some space, choose another --out{smaller}, or try it with --force",
        )

    def _occupied(self, file_bytes: int) -> int:
        return file_bytes + len(self.sampled_frames) * BLOCK_BYTES


def disk_need(
    frames: Mapping[str, int | None],
    out: Path,
    *,
    width: int,
    fine_count: int,
    origin: FeatureOrigin,
    keep_windows: bool,
    index_bytes: int,
) -> DiskNeed:
    """Estimate.

    Args:
        frames: camera frames of each video to extract, by name; None where unknown.
        out: where the features go; it exists.
        width: of an embedding.
        fine_count: windows whose motion is stored.
        origin: what stands in each file, and the stride.
        keep_windows: whether windows are kept.
        index_bytes: size of the index.

    Raises:
        As `disk_errors`, if `out` cannot be asked.
    """
    sampled = {name: None if count is None else -(-count // origin.stride) for name, count in frames.items()}
    known = [count for count in sampled.values() if count is not None]

    def total(windows: bool) -> int:
        header = header_bytes(origin, width, fine_count, keep_windows=windows)
        return index_bytes + len(known) * header + estimate_bytes(sum(known), width, fine_count, keep_windows=windows)

    with disk_errors(out):
        free = shutil.disk_usage(out).free
    return DiskNeed(
        sampled_frames=sampled,
        stride=origin.stride,
        keep_windows=keep_windows,
        file_bytes=total(keep_windows),
        aggregated_bytes=total(False),
        free_bytes=free,
    )


def readable(count: float) -> str:
    """Bytes in decimal units, three digits.

    >>> readable(999), readable(1_234_567), readable(5e15)
    ('999 bytes', '1.23 MB', '5000 TB')
    """
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if count >= 100 or not unit else f"{count:.3g} {_UNITS[unit]}"
