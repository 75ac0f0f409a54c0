"""What `with` closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from typing_extensions import Self  # in `typing` from Python 3.11 on


class Closing(ABC):
    """Something that holds a file, a device or a process until it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Release it; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
