"""fp32 ONNX equals torch at every batch size and number of windows, none included."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from stprompt_edge.bundle import ENCODER, ENCODER_NAMES, HEADS_NAME, Bundle, tensor_type
from stprompt_edge.export.exporting import Model
from stprompt_edge.export.graphs import window_examples
from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from tests.export.engine.graph_rules import refusals

GEOMETRY = Geometry()


def assert_equals_torch(bundle: Bundle, clip: Clip, sizes: list[tuple[int, int, int]]) -> None:
    rng = np.random.default_rng(0)
    encoder = PackedEncoder(clip.model.visual, GEOMETRY).eval()
    with OnnxBackend(bundle, precision="fp32") as backend, torch.inference_mode():
        for batch, fine_count, coarse_count in sizes:
            image = rng.standard_normal((batch, 3, 224, 224)).astype(np.float32)
            fine, coarse = rng.integers(0, 49, (batch, fine_count)), rng.integers(0, 16, (batch, coarse_count))
            expected = encoder(*(torch.from_numpy(array) for array in (image, fine, coarse)))
            got = backend.encode(image, fine, coarse)
            for name, a, b in zip(ENCODER.outputs, (got.frame, got.fine, got.coarse), expected, strict=True):
                assert a.shape == tuple(b.shape), (name, batch, fine_count, coarse_count)
                np.testing.assert_allclose(
                    a, b, atol=1e-4, rtol=0, err_msg=f"{name} at {batch, fine_count, coarse_count}"
                )


def test_small_encoder(small_bundle: Bundle, demo_clip: Clip) -> None:
    every_kind = [(b, k, n) for b in (1, 2) for k in (0, 1, 12) for n in (0, 1)] + [(3, 49, 16)]
    assert_equals_torch(small_bundle, demo_clip, every_kind)


def test_vit_b_16_encoder(vit_bundle: Bundle, vit_b_16: Clip) -> None:
    assert_equals_torch(vit_bundle, vit_b_16, [(1, 0, 0), (1, 12, 0), (1, 0, 1), (2, 49, 16), (3, 2, 1)])


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_heads(small_bundle: Bundle, stprompt_model: Model, rows: int) -> None:
    context, clip = np.random.default_rng(0).standard_normal((2, rows, 128)).astype(np.float32)
    assert stprompt_model.trained is not None
    with torch.inference_mode():
        prompts = torch.from_numpy(small_bundle.text.label_prompts)
        expected = stprompt_model.trained.heads(torch.from_numpy(context), torch.from_numpy(clip), prompts)
    with OnnxBackend(small_bundle, precision="fp32") as backend:
        got = backend.heads(context=context, clip=clip)
    assert got.similarity.shape == (rows, len(small_bundle.vocabulary.class_names))
    np.testing.assert_allclose(got.anomaly_logit, expected.anomaly_logit, atol=1e-5)
    np.testing.assert_allclose(got.similarity, expected.similarity, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_ranking_heads(ranking_bundle: Bundle, ranking_model: Model, rows: int) -> None:
    windows = np.random.default_rng(0).standard_normal((rows, 49, 128)).astype(np.float32)
    assert ranking_model.trained is not None
    with torch.inference_mode():
        expected = ranking_model.trained.heads(torch.from_numpy(windows))
    with OnnxBackend(ranking_bundle, precision="fp32") as backend:
        got = backend.heads(windows=windows)
    assert got.similarity is None
    assert got.window_logits is not None
    assert got.window_logits.shape == (rows, 49)
    np.testing.assert_allclose(got.anomaly_logit, expected.anomaly_logit, atol=1e-5)
    np.testing.assert_allclose(got.window_logits, expected.window_logits, atol=1e-5)


def test_names_of_the_ranking_heads(ranking_bundle: Bundle) -> None:
    graph = onnx.load(ranking_bundle.file(HEADS_NAME)).graph
    assert [tensor.name for tensor in graph.input] == list(ranking_bundle.traits.heads.inputs)
    assert [tensor.name for tensor in graph.output] == list(ranking_bundle.traits.heads.outputs)
    assert "Dropout" not in {node.op_type for node in graph.node}
    assert refusals(onnx.load(ranking_bundle.file(HEADS_NAME))) == []  # TensorRT's parser reads it


@pytest.mark.parametrize("file", [*(ENCODER_NAMES[p] for p in ("fp32", "fp16", "cpu8")), HEADS_NAME])
def test_names_types_and_nothing_of_the_machine(small_bundle: Bundle, file: str) -> None:
    content = small_bundle.file(file).read_bytes()
    graph = onnx.load_from_string(content).graph
    table = small_bundle.traits.heads if file == HEADS_NAME else ENCODER
    assert [tensor.name for tensor in graph.input] == list(table.inputs)
    assert [tensor.name for tensor in graph.output] == list(table.outputs)
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in (*graph.input, *graph.output)}
    assert all(onnx.helper.tensor_dtype_to_np_dtype(kind) == tensor_type(name) for name, kind in types.items())
    for trace in (b".py", b"/home", b"site-packages", b"stack_trace", b"Traceback", b'File "'):
        assert trace not in content


def test_layer_norm_is_one_node_each(small_bundle: Bundle, demo_clip: Clip) -> None:
    nodes = [node.op_type for node in onnx.load(small_bundle.file(ENCODER_NAMES["fp32"])).graph.node]
    blocks = len(demo_clip.model.visual.transformer.resblocks)
    # ln_pre, two in each block, a second ln_1 in the last for the class tokens, ln_post
    assert nodes.count("LayerNormalization") == 1 + 2 * blocks + 1 + 1
    assert nodes.count("Softmax") == 3 * blocks  # frame, fine and coarse


@pytest.mark.parametrize(
    "geometry",
    [GEOMETRY, Geometry(fine=WindowGrid(size=112, stride=112), coarse=WindowGrid(size=224, stride=224))],
    ids=["reference", "few windows"],
)
def test_examples_are_windows_of_the_geometry(geometry: Geometry) -> None:
    fine, coarse = window_examples(geometry)
    assert (tuple(fine.shape), tuple(coarse.shape)) == ((2, 5), (2, 3))
    assert fine.max() < geometry.fine_count
    assert coarse.max() < geometry.coarse_count
