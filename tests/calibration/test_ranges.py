"""Ranges of activations by each method."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from stprompt_edge.calibration import METHODS
from stprompt_edge.calibration.ranges import measure_ranges


def passing_on() -> onnx.ModelProto:
    """x [N] -> y [N], the same."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"], name="n")], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def measure(method: str, *feeds: NDArray) -> float:
    done: list[int] = []
    found = measure_ranges(
        passing_on(), ["y"], [{"x": feed.astype(np.float32)} for feed in feeds], method, lambda: done.append(1)
    )
    assert len(done) == len(feeds)
    return found["y"]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_printed_and_zeros_have_no_range(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(method, np.zeros(50), np.zeros(50)) == 0
    assert capsys.readouterr().out == ""


def test_minmax_is_the_largest_magnitude_of_all_feeds() -> None:
    assert measure("minmax", np.array([0.5, -3]), np.array([2.0])) == 3


def test_percentile_and_entropy_clip_what_hardly_ever_occurs() -> None:
    values = np.random.default_rng(0).standard_normal(500_000)
    values[0] = 40
    assert measure("minmax", values) == 40
    assert 3.5 < measure("percentile", values) < 6
    assert 2 < measure("entropy", values) < 39


@pytest.mark.parametrize("method", METHODS)
def test_a_later_feed_may_be_larger(method: str) -> None:
    small, large = (np.linspace(-reach, reach, 4000) for reach in (1, 2))
    assert 1.2 < measure(method, small, large) <= 2.01
