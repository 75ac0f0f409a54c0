"""The packed encoder in torch gives what the bundle's fp32 graph gives, and refuses weights of another encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("onnxruntime")

import torch

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError
from stprompt_edge.export import torch_backend
from stprompt_edge.export.torch_backend import TorchBackend
from stprompt_edge.features.records import FeatureOrigin
from stprompt_edge.features.settings import TORCH_PRECISIONS
from stprompt_edge.features.video import extract_video
from stprompt_edge.model.clip import load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from tests import videos
from tests.demo.small_encoder import NAME, small_bundle, small_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_graph(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def bundle(graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("small") / "b", graph)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.write_video(tmp_path_factory.mktemp("video") / "v.mp4", frames=9, noise=60)


@pytest.mark.parametrize("keep_windows", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_equals_the_fp32_graph(bundle: Bundle, video: Path, keep_windows: bool, batch: int) -> None:
    with TorchBackend(bundle, device="cpu") as ours, OnnxBackend(bundle) as graphs:
        assert ours.description.endswith("CPU, fp32")
        found = extract_video(
            video, bundle, ours, origin=FeatureOrigin.of(bundle, 2), keep_windows=keep_windows, batch=batch
        )
        expected = extract_video(video, bundle, graphs, origin=FeatureOrigin.of(bundle, 2), keep_windows=keep_windows)
    assert found.x_clip.shape == (5, 32)
    np.testing.assert_array_equal(found.motion, expected.motion)
    np.testing.assert_allclose(found.x_clip, expected.x_clip, atol=1e-3)
    np.testing.assert_allclose(found.x_as, expected.x_as, atol=1e-3)
    if keep_windows:  # stored in float16
        assert found.windows is not None
        assert expected.windows is not None
        np.testing.assert_allclose(found.windows, expected.windows, atol=1e-3, rtol=2e-3)


def test_half_precision_is_close(bundle: Bundle, video: Path) -> None:
    with TorchBackend(bundle, device="cpu", precision="fp16") as half, TorchBackend(bundle, device="cpu") as single:
        assert half.weights_sha256 == single.weights_sha256 == load_clip(NAME, "none").weights_sha256
        found, expected = (
            extract_video(video, bundle, each, origin=FeatureOrigin.of(bundle, 2), batch=5) for each in (half, single)
        )
    assert found.x_clip.dtype == found.x_as.dtype == np.float32
    np.testing.assert_allclose(found.x_clip, expected.x_clip, atol=2e-2)
    assert not np.array_equal(found.x_clip, expected.x_clip)


def test_unknown_precision(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="unknown precision 'cpu8' for torch"):
        TorchBackend(bundle, precision="cpu8")


def test_weights_of_another_encoder_are_refused(graph: bytes, tmp_path: Path) -> None:
    other = small_bundle(tmp_path / "b", graph, seed=1)
    with pytest.raises(CheckFailed, match=r"not those of .*b: smallest cosine .*\n.*--pretrained PATH"):
        TorchBackend(other, device="cpu")


def test_weights_that_are_not_here(graph: bytes, tmp_path: Path) -> None:
    lost = small_bundle(tmp_path / "b", graph, pretrained="mine.safetensors")
    with pytest.raises(UsageError, match=r"weights that .*b was made with are not here: .*mine.safetensors.*\n.*onnx"):
        TorchBackend(lost)
    with pytest.raises(UsageError, match=r"neither a file nor a tag") as caught:
        TorchBackend(lost, pretrained="nowhere.pt")
    assert "was made with" not in caught.value.what
    TorchBackend(lost, pretrained="none", device="cpu").close()


def test_weights_that_cannot_be_fetched(graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise EnvironmentFailure("CLIP weights 'openai' cannot be fetched (no network)", remedy="fetch them")

    monkeypatch.setattr(torch_backend, "load_clip", load)
    remote = small_bundle(tmp_path / "b", graph, pretrained="openai")
    with pytest.raises(EnvironmentFailure, match=r"are not here: .*no network.*\n.*--pretrained PATH"):
        TorchBackend(remote)


def test_a_gpu_that_is_too_small(bundle: Bundle, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with TorchBackend(bundle, device="cpu") as backend:
        monkeypatch.setattr(backend._encoder, "forward", full)
        with pytest.raises(EnvironmentFailure, match=r"not enough memory for 4 frames at once\n.*--batch 2, or fewer"):
            extract_video(video, bundle, backend, origin=FeatureOrigin.of(bundle, 2), batch=4)
        backend.close()
    monkeypatch.setattr(PackedEncoder, "to", full)
    with pytest.raises(EnvironmentFailure, match=r"not enough memory for the model\n.*--precision fp16"):
        TorchBackend(bundle)


def test_heads_are_the_bundles_graph(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with TorchBackend(bundle, device="cpu") as backend:
        monkeypatch.setattr(torch_backend, "OnnxBackend", FakeBackend)
        rows = np.ones((2, 32), np.float32)
        assert backend.heads(context=rows, clip=rows).anomaly_logit == pytest.approx([1, 1])


def test_every_precision_that_may_be_asked_for() -> None:
    assert tuple(torch_backend.TYPES) == TORCH_PRECISIONS
