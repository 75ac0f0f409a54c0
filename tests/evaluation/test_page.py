"""evaluation.html: one file, no script, nothing from outside, everything from outside escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from stprompt_edge.evaluation.page import page_html
from stprompt_edge.evaluation.records import Picture

from .scored import evaluation, located, scored, small_set

VOID = {"meta", "img", "source", "br"}
EVIL = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """Elements, references and text, with every element closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += data


@pytest.fixture(scope="module")
def page() -> str:
    done, jpeg = cv2.imencode(".jpg", np.zeros((27, 96, 3), np.uint8))
    assert done
    shown = Picture(video=EVIL, label=EVIL, seconds=61.0, located=located(0.51), jpeg=jpeg.tobytes())
    videos = small_set()
    others = {1: [0.3] * 3, None: [0.3] * 3}
    videos.append(scored(EVIL, [0.2, 0.6, 0.1], EVIL, abnormal=[(1, 2)], others=others, pictures=(shown,)))
    return page_html(evaluation(videos, notes=(EVIL,), skipped=((EVIL, EVIL),)))


def test_nothing_comes_from_outside(page: str) -> None:
    parsed = Page(page)
    assert parsed.references
    assert all(reference.startswith("data:image/") for reference in parsed.references)
    assert not {"script", "link", "iframe", "object", "base"} & set(parsed.tags)
    assert "http" not in page.replace("http-equiv", "").split("</head>")[0]
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_it_fits_phones_and_both_themes(page: str) -> None:
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in page
    assert 'name="color-scheme" content="light dark"' in page
    dark = page.count('<source media="(prefers-color-scheme: dark)"')
    assert dark == 4 + 5  # four charts, five timelines
    assert page.count("<img alt=") == dark + 1  # every picture says what it shows


def test_what_comes_from_outside_is_escaped(page: str) -> None:
    words = Page(page).words
    assert "<script>" not in page
    assert words.count(EVIL) >= 5  # label, video, note, skipped, reason


def test_the_figures_are_on_it(page: str) -> None:
    words = Page(page).words
    shown = ("AUC", "TIoU", "Time to alarm", "False alarms", "The bundle's own", "What waiting brings", "Skipped")
    assert [expected for expected in shown if expected not in words] == []
    assert "$" not in words


def test_an_offline_page_has_no_alarms() -> None:
    words = Page(page_html(evaluation(small_set(streaming=False), streaming=False))).words
    assert "Whole videos at once" in words
    for absent in ("What waiting brings", "alarm on.", "Where in the frame", "Skipped", "To know"):
        assert absent not in words
