"""Charts are drawn small: what they show does not depend on it, and there are many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def small_charts() -> Iterator[None]:
    from stprompt_edge.reports import charts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "DPI", 40)
        yield
