"""summary.json: both records in one object."""

from __future__ import annotations

import json
from pathlib import Path

from .synthetic import FIVE, run, summary


def test_summary(tmp_path: Path) -> None:
    run(tmp_path, end=summary(warnings=("half of it was noise",)))
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert text.startswith('{\n  "files"')
    assert sorted(content["files"]) == list(FIVE)
    assert content["source"]["name"] == "cam/clip.mp4"
    assert content["class_names"] == ["normal", "Fighting", "Road accident"]
    assert content["camera_frames"] == 40
    assert content["peak_rss_mib"] == 100.5
    assert content["warnings"] == ["half of it was noise"]
    assert content["interrupted"] is False
    assert content["latencies"]["step"] == {
        "count": 10, "p50_ms": 1.5, "p95_ms": 20.25, "p99_ms": 300.0, "mean_ms": None,
    }  # fmt: skip
