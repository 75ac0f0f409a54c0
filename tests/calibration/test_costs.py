"""One layer in int8 at a time."""

from __future__ import annotations

import numpy as np
import pytest

from stprompt_edge.calibration.costs import layer_costs, smallest_cosine, with_switches
from stprompt_edge.calibration.layers import find_layers
from stprompt_edge.calibration.qdq import quantize_static_int8
from tests.calibration.graphs import LAYERS, encoder, feeds, run
from tests.calibration.test_qdq import ranges_of


def test_with_all_switches_off_nothing_changes() -> None:
    model = encoder()
    before = model.SerializeToString(deterministic=True)
    switched = with_switches(model, find_layers(model.graph), ranges_of(model))
    assert model.SerializeToString(deterministic=True) == before
    np.testing.assert_allclose(run(switched, feeds()), run(model, feeds()), atol=1e-5)


def test_a_cost_is_that_of_the_graph_with_this_layer_in_int8() -> None:
    model = encoder()
    layers, ranges = find_layers(model.graph), ranges_of(model)
    done: list[int] = []
    costs = layer_costs(model, layers, ranges, feeds(), lambda: done.append(1))
    assert len(done) == len(layers)
    for layer in layers:
        alone = quantize_static_int8(model, [layer], ranges)
        lost = 1 - smallest_cosine(run(alone, feeds()), run(model, feeds()))
        assert costs[layer.node] == pytest.approx(lost, rel=0.3, abs=2e-6), layer.node  # fp16 tips some roundings


def test_outliers_cost_their_layer_most() -> None:
    model = encoder(outliers=300)
    costs = layer_costs(model, find_layers(model.graph), ranges_of(model), feeds(), lambda: None)
    assert max(costs, key=costs.__getitem__) == "out"
    assert set(costs) == set(LAYERS)


def test_a_cosine_that_is_no_number_is_the_worst() -> None:
    rows = np.ones((2, 3))
    assert smallest_cosine(rows, rows) == pytest.approx(1)
    assert smallest_cosine(rows * [[np.nan], [1]], rows) == -1
