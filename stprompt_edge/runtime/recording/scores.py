"""scores.csv: one row per sampled frame, on the disk as soon as it is known."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stprompt_edge.files import PartialText
from stprompt_edge.runtime.records import Detection, RunFacts

FIRST_COLUMNS = ("frame", "seconds", "score", "top_class", "top_probability")


class ScoresFile(PartialText):
    """Columns: `FIRST_COLUMNS`, then the probability of each class, `normal` first.

    Raises:
        EnvironmentFailure, UsageError: the file cannot be written (`files.disk_errors`), here and in every method.
    """

    def __init__(self, target: Path, facts: RunFacts) -> None:
        super().__init__(target)
        self._class_count = len(facts.class_names)
        self._row([*FIRST_COLUMNS, *facts.class_names])

    def add(self, detection: Detection) -> None:
        """Appends one row; `class_probabilities` must be [1+C]."""
        probabilities = detection.class_probabilities
        assert probabilities.shape == (self._class_count,), (probabilities.shape, self._class_count)
        self._row(
            [
                str(detection.frame_index),
                f"{detection.seconds:.3f}",
                f"{detection.score:.6f}",
                detection.top_class,
                f"{detection.top_probability:.6f}",
                *(f"{p:.6f}" for p in probabilities),
            ]
        )

    def _row(self, cells: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self.write(line.getvalue())
