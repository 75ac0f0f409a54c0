"""Nested phases as one fraction that never falls."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from stprompt_edge.export.engine.monitor import PhaseTree, make_monitor
from tests.fakes.device import install
from tests.fakes.tensorrt_module import run_phases

Told = list[tuple[str, float]]


def test_an_inner_phase_refines_the_outer() -> None:
    told: Told = []
    tree = PhaseTree(lambda what, done: told.append((what, round(done, 3))))
    tree.start("build", None, 2)
    tree.start("tactics", "build", 4)
    tree.step("tactics", 0)
    tree.step("tactics", 3)
    tree.finish("tactics")
    tree.step("build", 0)
    tree.start("tactics", "build", 4)
    tree.step("tactics", 1)
    tree.step("build", 1)
    assert told == [
        ("build", 0), ("tactics", 0), ("tactics", 0.125), ("tactics", 0.5), ("build", 0.5), ("tactics", 0.5),
        ("tactics", 0.75), ("build", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "calls",
    [
        [("finish", "never begun")],
        [("step", "never begun", 3)],
        [("start", "orphan", "never begun", 0), ("step", "orphan", 7)],
        [("start", "a", None, 1), ("step", "a", 0), ("start", "b", None, 100)],
        [("start", "a", "a", 1), ("step", "a", 0)],
    ],
)
def test_phases_that_make_no_sense_stay_within_bounds(calls: list[tuple[Any, ...]]) -> None:
    told: list[float] = []
    tree = PhaseTree(lambda what, done: told.append(done))
    for method, *arguments in calls:
        getattr(tree, method)(*arguments)
    assert told == sorted(told)
    assert all(0 <= done <= 1 for done in told)


def test_a_whole_build(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    told: Told = []
    assert run_phases(make_monitor(lambda what, done: told.append((what, done)), threading.Event()))
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1] == ("Building Engine", 1.0)


def test_it_stops_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    stop = threading.Event()
    told: Told = []

    def progress(what: str, done: float) -> None:
        told.append((what, done))
        if done > 0.3:
            stop.set()

    assert not run_phases(make_monitor(progress, stop))
    assert 0.3 < told[-1][1] < 0.5
