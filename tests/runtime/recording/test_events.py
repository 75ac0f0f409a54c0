"""events.json is valid however many events there are."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from stprompt_edge.runtime.recording.events import EventsFile

from .synthetic import detections, event, facts, run


def test_one_event(tmp_path: Path) -> None:
    run(tmp_path)
    content = json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
    assert content["source"] == "cam/clip.mp4"
    (only,) = content["events"]
    assert (only["start_frame"], only["end_frame"], only["peak_frame"]) == (16, 24, 20)
    assert (only["start_seconds"], only["end_seconds"], only["peak_score"]) == (1.6, 2.4, 0.9)
    assert only["top_class"] == "Fighting"
    assert (only["camera"], only["started_at"]) == ("cam", "2026-09-01T12:00:00.000+00:00")
    assert uuid.UUID(only["id"]).version == 7
    assert [frame["frame"] for frame in only["frames"]] == [16, 20, 24]
    assert only["frames"][0]["boxes"] == [[80, 60, 160, 120, 0.75]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_events(tmp_path: Path, count: int) -> None:
    part = EventsFile(tmp_path / "events.json", facts(name='a "quoted" \\ name </script>'))
    for _ in range(count):
        part.add(event(detections()[4:7]))
    part.close()
    content = json.loads(part.path.read_text(encoding="utf-8"))
    assert content["source"] == 'a "quoted" \\ name </script>'
    assert len(content["events"]) == count


def test_the_password_of_a_camera_is_not_written(tmp_path: Path) -> None:
    run(tmp_path, about=facts(name="rtsp://admin:s3c@ret@10.0.0.5:554/main", live=True))
    for name in ("events.json", "summary.json", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "s3c" not in text
        assert "rtsp://admin:***@10.0.0.5:554/main" in text
