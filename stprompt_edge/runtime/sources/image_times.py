"""When the pictures of a folder were taken: by their count, or by what `--times` says where to look.

number             the last number in the file name, in frames of `--fps`: a missing number leaves a gap
name:%Y%m%d_%H%M%S the date and time in the file name, written as for `strptime`, in digits
exif               DateTimeOriginal and SubSecTimeOriginal
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from stprompt_edge.errors import EnvironmentFailure, UsageError, nearest
from stprompt_edge.runtime.sources.clock import ASSUMED_FPS

MAX_FPS = 1000.0
MAX_TICKS = 1e9  # of `number` in a second: file names may be time stamps in nanoseconds
_DIGITS = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2, "%y": 2, "%j": 3}  # of strptime's directives
_MAX_FRAME_DIGITS = 9  # longer numbers are time stamps
_DATE = re.compile(r"(19|20)[0-9]{6}[^0-9]?$")  # what stands before a number that is a time of day
_ORIGIN = datetime(2000, 1, 1)  # near, so that microseconds fit into a float
_EXIF_IFD, _DATE_TIME, _SUB_SECONDS = 0x8769, 0x9003, 0x9291  # Exif 2.32, table 8
_Reader = Callable[[Path], "float | None"]  # None: it does not say; not a number: it is damaged


def picture_seconds(paths: Sequence[Path], fps: float | None, times: str | None) -> tuple[list[float], float, bool]:
    """Seconds of each picture since the first, their rate in pictures per second, and whether that is assumed.

    Args:
        paths: in order, at least one.
        fps: frames per second; None where nobody knows.
        times: see the head of this file; None: one picture follows the other at `fps`.

    Raises:
        UsageError: an `fps` or `times` that cannot be, a picture without its time, or one that is not later than the
            picture before it; both are named.
        EnvironmentFailure: `exif`, and Pillow is missing.
    """
    check_fps(fps, MAX_TICKS if times == "number" else MAX_FPS)
    rate = fps or ASSUMED_FPS
    if times is None:
        return [index / rate for index in range(len(paths))], rate, fps is None
    if fps is not None and times != "number":
        raise UsageError(f"--times {times} leaves nothing to --fps", remedy="leave one of the two out")
    read = _reader(times, rate, paths[0])
    known = {position: _stamp(read, path, times) for position, path in enumerate(paths)}
    known = {position: stamp for position, stamp in known.items() if not math.isnan(stamp)}
    for (before, earlier), (after, later) in pairwise(known.items()):
        if not later > earlier:
            raise UsageError(
                f"--times {times}: {paths[after].name} comes {later - earlier:+g} s after {paths[before].name}",
                remedy="times must increase from picture to picture: use another pattern, or --fps alone",
            )
    stamps = list(known.values()) or [0.0]
    seconds = np.interp(range(len(paths)), list(known) or [0], [stamp - stamps[0] for stamp in stamps])
    distances = [later - earlier for earlier, later in pairwise(stamps)]
    assumed = fps is None and (times == "number" or not distances)
    return seconds.tolist(), round(1 / median(distances), 6) if distances else rate, assumed


def check_fps(fps: float | None, limit: float = MAX_FPS) -> None:
    """Raises UsageError if a rate that was given cannot be one."""
    if fps is not None and not 0 < fps <= limit:
        raise UsageError(f"--fps is {fps:g}", remedy=f"pictures per second: above 0, and up to {limit:g}")


def gap_warning(paths: Sequence[Path]) -> str | None:
    """A line for the user where numbered pictures lack some: half or more follow each other by the same step.

    Args:
        paths: in order.
    """
    numbers = [_frame_number(path) for path in paths]
    steps = {
        position: after[1] - before[1]
        for position, (before, after) in enumerate(pairwise(numbers))
        if before and after and before[0] == after[0]
    }
    counts = Counter(steps.values())
    step = max(counts, key=lambda width: (counts[width], -width), default=0)  # the smallest of those as common
    if step < 1 or counts[step] < len(steps) / 2 or any(width % step for width in steps.values()):
        return None  # no numbers of frames
    gaps = [(position, width // step - 1) for position, width in steps.items() if width > step]
    if not gaps:
        return None
    position, missing = gaps[0]
    first = f"{missing} pictures missing between {paths[position].name} and {paths[position + 1].name}"
    total = sum(missing for _, missing in gaps)
    return first if len(gaps) == 1 else f"{first}; {total} in all, in {len(gaps)} gaps"


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A key that sorts `frame2` before `frame10`."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _last_number(path: Path) -> tuple[str, str] | None:
    """What stands before the last number in a file name, and its digits."""
    match = re.fullmatch(r"(.*?)([0-9]+)[^0-9]*", path.stem)
    return None if match is None else (match[1], match[2])


def _frame_number(path: Path) -> tuple[str, int] | None:
    """The same where the number counts frames: not seconds since 1970, not a time of day behind a date."""
    found = _last_number(path)
    if found is None or len(found[1]) > _MAX_FRAME_DIGITS or _DATE.search(found[0]):
        return None
    return found[0], int(found[1])


def _stamp(read: _Reader, path: Path, times: str) -> float:
    found = read(path)
    if found is None:
        raise UsageError(f"--times {times}: {path.name} does not say its time", remedy="use another pattern, or --fps")
    return found


def _reader(times: str, rate: float, first: Path) -> _Reader:
    """What reads the seconds of one picture, from an origin of its own."""
    kind, _, form = times.partition(":")
    if times == "number":
        origin = int(found[1]) if (found := _last_number(first)) else 0  # taken off first: numbers may have 19 digits
        return lambda path: (int(found[1]) - origin) / rate if (found := _last_number(path)) else None
    if times == "exif":
        return _exif_reader()
    if kind == "name" and form:
        return _name_reader(form)
    known = ["exif", "name:%Y%m%d_%H%M%S", "number"]
    raise UsageError(f"unknown --times '{times}'", remedy=nearest(times, known))


def _name_reader(form: str) -> _Reader:
    pattern = _pattern(form)

    def read(path: Path) -> float | None:
        match = pattern.search(path.stem)
        try:
            return None if match is None else _seconds(datetime.strptime(match[0], form))
        except ValueError:  # the 31st of February
            return None

    return read


def _pattern(form: str) -> re.Pattern[str]:
    """What the form looks like in a name, its ends not inside a longer number."""
    parts = []
    for piece in re.findall(r"%.?|[^%]+", form):
        if not piece.startswith("%"):
            parts.append(re.escape(piece))
        elif piece == "%f":
            parts.append("[0-9]{1,6}")
        elif piece in _DIGITS:
            parts.append(f"[0-9]{{{_DIGITS[piece]}}}")
        else:
            known = ", ".join((*_DIGITS, "%f"))
            raise UsageError(f"--times name:{form}: '{piece}' is not read from names", remedy=f"known: {known}")
    return re.compile(f"(?<![0-9]){''.join(parts)}(?![0-9])")


def _exif_reader() -> _Reader:
    try:
        from PIL import Image
    except ImportError as exc:
        raise EnvironmentFailure(
            f"reading EXIF needs a package that cannot be imported ({exc})",
            remedy='pip install "stprompt-edge[exif]", or use --times name: or --fps',
        ) from exc

    def read(path: Path) -> float | None:
        try:
            with Image.open(path) as picture:
                tags = picture.getexif().get_ifd(_EXIF_IFD)
        except (OSError, SyntaxError):  # SyntaxError: a broken PNG
            return math.nan
        try:
            taken = datetime.strptime(str(tags[_DATE_TIME]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        except (KeyError, ValueError):
            return None
        fraction = str(tags.get(_SUB_SECONDS, "")).strip("\0 ")
        return _seconds(taken) + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)

    return read


def _seconds(taken: datetime) -> float:
    """As clocks on walls show it: no time zone, no jump of an hour."""
    return (taken - _ORIGIN).total_seconds()
