"""The table of graphs, with the sizes of a bundle."""

from __future__ import annotations

import numpy as np
import pytest

from stprompt_edge.bundle import ANY_SIZE, ENCODER, METHOD_TRAITS, Bundle, Graph, GraphShapes, tensor_type
from tests.runtime.tiny import ranking_bundle, tiny_bundle


def heads_shapes(bundle: Bundle) -> GraphShapes:
    return bundle.traits.heads.shapes(bundle.sizes)


def test_shapes_of_a_bundle() -> None:
    assert vars(ENCODER.shapes(tiny_bundle(width=16).sizes)) == {
        "inputs": {"image": [None, 3, 28, 28], "fine": [None, None], "coarse": [None, None]},
        "outputs": {
            "frame": [None, 16],
            "fine_embeddings": [None, None, 16],
            "coarse_embeddings": [None, None, 16],
        },
    }
    assert heads_shapes(tiny_bundle(width=16)).outputs == {"anomaly_logit": [None], "similarity": [None, 3]}
    assert vars(heads_shapes(ranking_bundle(width=16))) == {
        "inputs": {"windows": [None, 49, 16]},
        "outputs": {"anomaly_logit": [None], "window_logits": [None, 49]},
    }


@pytest.mark.parametrize("graph", [ENCODER, *(traits.heads for traits in METHOD_TRAITS.values())])
def test_every_axis_is_a_call_s_or_a_bundle_s(graph: Graph) -> None:
    sizes = {**tiny_bundle().sizes, **dict.fromkeys(ANY_SIZE, 0)}
    shapes = {**graph.input_shapes(sizes), **graph.output_shapes(sizes)}
    assert all(0 in shape for shape in shapes.values())
    assert set(shapes) == {*graph.inputs, *graph.outputs}


def test_a_feed_has_one_array_for_each_input() -> None:
    image, fine, coarse = np.zeros((1, 3, 28, 28), np.float32), np.zeros((1, 2), np.int64), np.zeros((1, 0), np.int64)
    feed = ENCODER.feed(image, fine, coarse)
    assert list(feed) == ["image", "fine", "coarse"]
    assert all(array.dtype == tensor_type(name) for name, array in feed.items())
    with pytest.raises(ValueError, match="shorter"):
        ENCODER.feed(image, fine)
