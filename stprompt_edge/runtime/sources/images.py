"""A folder of images as a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import SourceError
from stprompt_edge.listing import data_files
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import SourceInfo
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.image_times import gap_warning, natural_order, picture_seconds

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


class ImageFolderSource(Source):
    """The images of a folder, `frame2` before `frame10`; `index` counts damaged images too.

    Args:
        name: for messages.
        folder: of the images.
        fps: images per second; None where nobody knows: then 25 are assumed, and `info.fps_assumed` says so.
        times: where the time of each image is found, see `image_times`; None: one follows the other at `fps`.

    Raises:
        SourceError: the folder cannot be read, or holds no readable image.
        UsageError, EnvironmentFailure: as `picture_seconds`.
    """

    def __init__(self, name: str, folder: Path, *, fps: float | None = None, times: str | None = None) -> None:
        super().__init__()
        try:
            self._paths = pictures_of(folder)
        except PermissionError as exc:
            raise SourceError(f"no permission to read {folder}", remedy="give this user access to the folder") from exc
        if not self._paths:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise SourceError(f"no images ({suffixes}) in folder {folder}", remedy="give a folder of images or a video")
        self._seconds, rate, assumed = picture_seconds(self._paths, fps, times)
        first = next((image for path in self._paths if (image := _read_image(path)) is not None), None)
        if first is None:
            raise SourceError(f"no image of the {len(self._paths)} in {folder} is readable", remedy="copy them again")
        height, width = first.shape[:2]
        self.info = SourceInfo(
            name=name,
            width=width,
            height=height,
            fps=rate,
            frame_count=len(self._paths),
            live=False,
            codec="images",
            fps_assumed=assumed,
        )
        gap = gap_warning(self._paths)
        self.warnings += [gap] if gap else []

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        damaged: list[str] = []
        for index, path in enumerate(self._paths):
            if not wanted(index):
                continue
            image = _read_image(path)
            if image is None:
                self.losses.undecodable_packets += 1
                damaged.append(path.name)
            else:
                yield CameraFrame(index=index, seconds=self._seconds[index], image_bgr=image)
        if damaged:
            self.warnings.append(f"skipped {len(damaged)} unreadable images, the first is {damaged[0]}")

    def close(self) -> None:
        """Nothing stays open between two images."""


def pictures_of(folder: Path) -> list[Path]:
    """The images of a folder, in the order of their numbers. Raises OSError if it cannot be read."""
    found = [path for path in data_files(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=natural_order)


def _read_image(path: Path) -> NDArray[np.uint8] | None:
    """[H, W, 3] uint8 BGR with EXIF rotation applied, or None."""
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):  # unreadable, or larger than OpenCV's limit
        return None
    return None if image is None else np.asarray(image, np.uint8)
