"""TensorRT's Python package: imported here, its messages collected here, every result checked here.

Written for TensorRT 10.3 to 11.x in one way: of what is used, nothing differs between them (tests/vendor_api checks
each name and signature against NVIDIA's own bindings), so there is no version switch anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.imports import import_failure

if TYPE_CHECKING:
    import tensorrt as trt

Result = TypeVar("Result")


def import_tensorrt() -> Any:
    """The `tensorrt` module, or one line that says how to get it.

    Raises:
        EnvironmentFailure: it is missing, or its libraries do not load.
    """
    try:
        import tensorrt
    except (ImportError, OSError, RuntimeError) as exc:
        raise import_failure(
            "TensorRT",
            exc,
            remedy='on a desktop: pip install "stprompt-edge[tensorrt]"; a Jetson has it from JetPack: make the '
            "environment with `python3 -m venv --system-site-packages` (see docs/jetson.md)",
        ) from exc
    return tensorrt


class Messages:
    """What TensorRT logged at warning level or above, in order; it logs from several threads."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    @property
    def last_error(self) -> str:
        """The latest one, or that there was none."""
        return self.errors[-1] if self.errors else "TensorRT gave no reason"


def make_logger(messages: Messages) -> trt.ILogger:
    """A TensorRT logger that fills `messages`; it must outlive every object that is made with it."""
    tensorrt = import_tensorrt()

    base: Any = tensorrt.ILogger

    class CollectingLogger(base):  # type: ignore[misc]  # known only where TensorRT is
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (tensorrt.ILogger.INTERNAL_ERROR, tensorrt.ILogger.ERROR):
                messages.errors.append(msg.strip())
            elif severity == tensorrt.ILogger.WARNING:
                messages.warnings.append(msg.strip())

    return CollectingLogger()


def checked(result: Result, doing: str, messages: Messages) -> Result:
    """What a TensorRT call gave; None, False and -1 are how it says that it failed.

    Raises:
        EnvironmentFailure: with what TensorRT logged.
    """
    if result is None or result is False or (isinstance(result, int) and result < 0):
        raise EnvironmentFailure(
            f"TensorRT failed while {doing}: {messages.last_error}",
            remedy="see `stprompt-edge doctor`; if the driver or TensorRT has changed, run `build-engine` again",
        )
    return result
