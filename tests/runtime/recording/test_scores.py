"""scores.csv reads back as it was given."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stprompt_edge.runtime.recording.scores import FIRST_COLUMNS, ScoresFile

from .synthetic import CLASSES, detection, detections, facts, run


def test_round_trip(tmp_path: Path) -> None:
    run(tmp_path)
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*FIRST_COLUMNS, *CLASSES)
    for row, given in zip(rows, detections(), strict=True):
        assert int(row["frame"]) == given.frame_index
        assert float(row["seconds"]) == pytest.approx(given.seconds, abs=5e-4)
        assert float(row["score"]) == pytest.approx(given.score, abs=5e-7)
        assert row["top_class"] == given.top_class
        assert [float(row[name]) for name in CLASSES] == pytest.approx(given.class_probabilities.tolist(), abs=5e-7)


def test_another_number_of_classes_is_a_bug(tmp_path: Path) -> None:
    about = facts()
    part = ScoresFile(tmp_path / "scores.csv", about)
    part._class_count = 14
    with pytest.raises(AssertionError, match="14"):
        part.add(detection(0, 0.5))
    part.discard()
