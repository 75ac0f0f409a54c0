"""report.html: one file that needs nothing else, whatever the source and the classes are called."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from stprompt_edge.runtime.alarm import EventLife
from stprompt_edge.runtime.recording.report import MAX_LISTED_EVENTS, MAX_PICTURED_EVENTS, Report

from .synthetic import changes, detection, detections, facts, frame, picture, run, summary, tell

EVIL = "<script>alert('x')</script>&\"$title ${when}"
VOID = {"meta", "img", "br", "rect", "path", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what the tests look at and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.text = ""
        self.points: list[list[object]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("src", "href", "action", "data", "poster") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        self.scripts += tag == "script"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # <rect/> and the like

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script" and data.startswith("["):
            self.points = json.loads(data)
        elif not self._open or self._open[-1] not in ("script", "style"):
            self.text += " " + data


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_it_needs_nothing_from_outside(tmp_path: Path) -> None:
    run(tmp_path)
    page = page_of(tmp_path)
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http://" not in raw
    assert "https://" not in raw
    assert sum(link.startswith("data:") for link in page.links) == 2  # the peak, plain and marked
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert len(page.ids) == len(set(page.ids))


def test_it_says_what_happened(tmp_path: Path) -> None:
    run(tmp_path, end=summary(warnings=("half of it was noise",)))
    text = page_of(tmp_path).text
    for expected in (
        "clip.mp4",
        "1 event",
        "0.90 at 0:02.0",
        "Fighting",
        "half of it was noise",
        "20.2 ms",
        "STPrompt",
    ):
        assert expected in text
    assert [point[1] for point in page_of(tmp_path).points] == [d.score for d in detections()]


def test_the_curve_and_the_thresholds_are_where_they_belong(tmp_path: Path) -> None:
    run(tmp_path)
    text, found = (tmp_path / "report.html").read_text(encoding="utf-8"), detections()
    (span,) = re.findall(r'data-span="([\d.]+)"', text)
    curve, hot = (re.findall(r"[\d.]+", path) for path in re.findall(r'class="line" d="([^"]+)"', text))
    drawn = np.array(curve, float).reshape(-1, 2) / 1000
    expected = [(d.seconds / float(span), 1 - d.score) for d in found] + [(1, 1 - found[-1].score)]
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    assert hot == curve
    about = facts()
    for name, words, threshold in (("on", "alarm", about.threshold_on), ("off", "off", about.threshold_off)):
        assert f'<path class="{name}" d="M0 {1000 * (1 - threshold):.1f} H1000"/>' in text
        assert f'style="top:{100 * (1 - threshold):.1f}%">{words} {threshold:.2f}</span>' in text


def test_untrusted_names_stay_text(tmp_path: Path) -> None:
    about = dataclasses.replace(facts(name=EVIL), class_names=("normal", EVIL, "b"), bundle={EVIL: EVIL}, backend=EVIL)
    report, life = Report(about), EventLife(EVIL)
    for d in detections():
        tell(report, life, dataclasses.replace(d, top_class=EVIL))
    text = report.html(summary(warnings=(EVIL,)))
    page = Page(text)
    assert page.scripts == 2  # the points and ours
    assert "<script>alert" not in text
    assert EVIL in page.text
    assert page.points[0][2] == EVIL


def test_no_events_shows_the_highest_frame() -> None:
    report = Report(facts())
    for index, score in ((0, 0.1), (4, 0.5), (8, 0.2)):
        report.add_detection(detection(index, score), frame(index))
    page = Page(report.html(summary()))
    assert "No events" in page.text
    assert "Highest-scored frame" in page.text
    assert "at 0:00.4, frame 4" in page.text
    assert "not localized" in page.text
    assert sum(link.startswith("data:") for link in page.links) == 1


def test_nothing_scored() -> None:
    page = Page(Report(facts()).html(dataclasses.replace(summary(), latencies={}, wall_seconds=0.0, sampled_frames=0)))
    assert "Nothing scored" in page.text
    assert "Nothing was timed" in page.text
    assert page.points == []


def test_one_sampled_frame_at_zero() -> None:
    report = Report(dataclasses.replace(facts(live=True), threshold_off=0.6))
    report.add_detection(detection(0, 0.7, alarm=True), frame(0))
    for change in changes([detection(0, 0.7, alarm=True)]):
        report.add_change(change)
    page = Page(report.html(summary()))
    assert len(page.points) == 1
    assert "nan" not in page.text.lower().replace("mean", "")


def test_pictures_and_rows_are_bounded() -> None:
    report, count = Report(facts()), MAX_LISTED_EVENTS + 20
    rng = np.random.default_rng(0)
    tiny = np.zeros((8, 8, 3), np.uint8)
    scores = 0.6 + 0.4 * rng.random(count)
    for i, score in enumerate(scores):
        found = detection(8 * i, float(score), alarm=True)
        report.add_detection(found, frame(found.frame_index, tiny))
        for change in changes([found]):
            report.add_change(change)
        report.add_detection(detection(8 * i + 4, 0.1), frame(8 * i + 4, tiny))
    page = Page(report.html(summary()))
    assert sum(link.startswith("data:") for link in page.links) == 2 * MAX_PICTURED_EVENTS
    assert sum(name.startswith("event-") for name in page.ids) == MAX_LISTED_EVENTS
    strongest = 1 + np.argsort(-scores)[:MAX_PICTURED_EVENTS]
    assert all(f"Event {number}:" in page.text for number in strongest)
    assert f"The {MAX_LISTED_EVENTS} strongest of {count} are listed" in page.text
    assert f"{MAX_PICTURED_EVENTS} of them pictured below" in page.text


@pytest.mark.parametrize(
    ("name", "title"), [("a/b/c.mp4", "c.mp4"), ("frames/", "frames"), ("rtsp://h/x", "rtsp://h/x"), ("/", "/")]
)
def test_title(name: str, title: str) -> None:
    assert f"<h1>{title}</h1>" in Report(facts(name=name)).html(summary())


@pytest.mark.parametrize("hours", [0.0001, 0.01, 0.3, 1, 30, 3000])
def test_time_axis_of_any_length(hours: float) -> None:
    report = Report(facts())
    for part in (0.0, 0.5, 1.0):
        report.add_detection(
            detection(int(part * 40), 0.2, seconds=part * hours * 3600), frame(0, picture(0, (16, 16)))
        )
    text = report.html(summary())
    axis = text[text.index('class="ticks') : text.index("</section>", text.index('class="ticks'))]
    assert 2 <= axis.count("<span") <= 10
