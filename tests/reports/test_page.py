"""What every page shares: nothing unescaped, nothing forgotten, nothing from above."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from stprompt_edge.reports.page import render

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert(1)</script>&\"'</style>{{ title }}"
SAFE = "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#34;&#39;&lt;/style&gt;{{ title }}"


def values(text: str) -> dict[str, Any]:
    return {
        "title": text, "made": text, "pills": [("calm", text)], "verdict": text, "tiles": [(text, text, text)],
        "notes": [text], "facts": [(text, {text: text}.items()), ("none", ())],
    }  # fmt: skip


def test_every_value_is_escaped() -> None:
    page = render("reports/base.html", **values(EVIL))
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert page.count(SAFE) == 12  # the title twice
    assert page.count("</style>") == 1
    assert '<div class="facts"><h3>none' not in page


@pytest.mark.parametrize("name", list(values("")))
def test_a_value_that_is_not_given_is_an_error(name: str) -> None:
    given = values("x")
    del given[name]
    with pytest.raises(UndefinedError, match=f"'{name}' is undefined"):
        render("reports/base.html", **given)


def test_nothing_is_drawn_to_make_a_page_and_nothing_above_is_imported() -> None:
    above = ("runtime", "evaluation", "calibration", "training", "export", "datasets", "features")
    code = (
        "import sys, stprompt_edge.reports.page, stprompt_edge.reports.charts\n"
        f"found = {{'matplotlib', *('stprompt_edge.' + name for name in {above!r})}} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
