"""TensorRT's own progress, as one fraction, and the way to stop it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import import_tensorrt

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """Phases nest and repeat; the fraction is that of the outermost one, refined by what runs inside it.

    Called from TensorRT's threads.

    Args:
        progress: told the innermost phase and the whole's fraction, which never falls.
    """

    def __init__(self, progress: StepProgress) -> None:
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._largest = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins inside another, or on its own."""
        with self._lock:
            self._phases[name] = _Phase(parent if parent in self._phases else None, max(steps, 1))
            self._tell(name)

    def step(self, name: str, step: int) -> None:
        """A step of a phase is done; steps count from 0."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
                self._tell(name)

    def finish(self, name: str) -> None:
        """A phase is done, whether it has taken all of its steps or not."""
        with self._lock:
            self._phases.pop(name, None)

    def _tell(self, name: str) -> None:
        self._largest = max(self._largest, min(self._fraction(name), 1.0))
        self._progress(name, self._largest)

    def _fraction(self, name: str) -> float:
        phase: _Phase | None = self._phases[name]
        inner = 0.0
        while phase is not None:
            inner = (phase.done + min(inner, 1.0)) / phase.steps
            phase = self._phases.get(phase.parent) if phase.parent else None
        return inner


def make_monitor(progress: StepProgress, stop: threading.Event) -> trt.IProgressMonitor:
    """A monitor that reports to `progress` and ends the build once `stop` is set; it must outlive the build."""
    tensorrt = import_tensorrt()
    tree = PhaseTree(progress)

    base: Any = tensorrt.IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tree.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tree.step(phase_name, step)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            tree.finish(phase_name)

    return Monitor()
