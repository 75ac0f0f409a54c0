import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.runtime.backends import open_backend
from stprompt_edge.runtime.backends.base import Encoded
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.training.features import (
    FeatureOrigin,
    VideoFeatures,
    estimate_bytes,
    extract_video,
    header_bytes,
    load_features,
    load_segments,
    read_header,
    read_windows,
    save_features,
    source_size,
)
from tests import videos

ORIGIN = FeatureOrigin.of(load_bundle(DEMO_BUNDLE), 2, precision="cpu8")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoFeatures, VideoFeatures]:
    """The same video with and without its windows kept."""
    video = tmp_path_factory.mktemp("video") / "v.mp4"
    videos.write_video(video, frames=9)
    bundle = load_bundle(DEMO_BUNDLE)
    with open_backend("onnx", bundle).backend as backend:
        return (
            extract_video(video, bundle, backend, origin=ORIGIN, keep_windows=True),
            extract_video(video, bundle, backend, origin=ORIGIN),
        )


def test_shapes(extracted: tuple[VideoFeatures, VideoFeatures]) -> None:
    kept, aggregated = extracted
    assert kept.x_clip.shape == kept.x_as.shape == (5, 128)
    assert kept.motion.shape == (5, 49)
    assert kept.windows is not None
    assert kept.windows.shape == (5, 49, 128)
    assert aggregated.windows is None
    assert kept.origin == aggregated.origin
    assert kept.origin.stride == 2


def test_keeping_windows_changes_only_what_int8_rounds(extracted: tuple[VideoFeatures, VideoFeatures]) -> None:
    kept, aggregated = extracted
    assert np.array_equal(kept.motion, aggregated.motion)
    for a, b in ((kept.x_clip, aggregated.x_clip), (kept.x_as, aggregated.x_as)):
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosines.min() > 0.998


def test_round_trip(extracted: tuple[VideoFeatures, VideoFeatures], tmp_path: Path) -> None:
    for name, features in zip(("kept", "aggregated"), extracted, strict=True):
        path = tmp_path / f"{name}.safetensors"
        save_features(path, features)
        loaded = load_features(path)
        assert loaded.origin == features.origin
        assert loaded.seconds_between_samples == features.seconds_between_samples
        np.testing.assert_allclose(loaded.x_as, features.x_as, rtol=1e-3, atol=1e-3)
        assert (loaded.windows is None) == (features.windows is None)
        kept = features.windows is not None
        header = read_header(path)
        assert (header.origin, header.has_windows, header.source_size) == (features.origin, kept, features.source_size)
        assert loaded.source_size == features.source_size
        assert load_features(path, windows=False).windows is None
        overhead = header_bytes(features.origin, 128, 49, keep_windows=kept)
        assert path.stat().st_size == pytest.approx(overhead + estimate_bytes(5, 128, 49, keep_windows=kept), abs=32)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(UsageError, match=r"is not a feature file.*\n.*remove .*\.safetensors, then extract again"):
            read_header(path)


def test_rows_know_their_frames_where_some_cannot_be_read(tmp_path: Path) -> None:
    bundle = load_bundle(DEMO_BUNDLE)
    backend = FakeBackend(bundle)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(12):
        cv2.imwrite(str(folder / f"{index}.png"), videos.picture(index, 64, 48))
    origin = FeatureOrigin.of(bundle, 4)
    whole = extract_video(folder, bundle, backend, origin=origin)
    (folder / "4.png").write_bytes(b"damaged")
    damaged = extract_video(folder, bundle, backend, origin=origin)
    for name, features, expected in (("whole", whole, None), ("damaged", damaged, [0, 8])):
        save_features(tmp_path / name, features)
        frames = load_features(tmp_path / name).frames
        assert (frames if frames is None else frames.tolist()) == expected


def test_segments_are_means_of_the_kept_windows(extracted: tuple[VideoFeatures, VideoFeatures], tmp_path: Path) -> None:
    for name, features in zip(("kept", "aggregated"), extracted, strict=True):
        save_features(tmp_path / name, features)
    windows = load_features(tmp_path / "kept").windows
    assert windows is not None
    segments = load_segments(tmp_path / "kept", 2)
    assert segments is not None
    assert segments.dtype == np.float16
    np.testing.assert_allclose(segments, [windows[:2].mean(0), windows[2:].mean(0)], rtol=1e-3, atol=1e-3)
    assert load_segments(tmp_path / "aggregated", 2) is None
    blocks = list(read_windows(tmp_path / "kept", 2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), windows)
    assert list(read_windows(tmp_path / "aggregated", 2)) == []


@pytest.mark.parametrize("content", [b"", b"text", bytes(100)])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for load in (load_features, lambda path: load_segments(path, 2)):
        with pytest.raises(UsageError, match=r"is not a feature file.*\n.*remove .*\.safetensors, then extract again"):
            load(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a feature file.*\n  fix: extract again"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="is not a feature file"):
        load_features(tmp_path / "none.safetensors")


def test_batches_give_the_same_rows(tmp_path: Path) -> None:
    video = videos.write_video(tmp_path / "v.mp4", frames=7)
    bundle = load_bundle(DEMO_BUNDLE)
    frames = []
    found = [
        extract_video(video, bundle, FakeBackend(bundle), origin=ORIGIN, batch=n, on_frame=lambda: frames.append(1))
        for n in (1, 2, 3, 4, 99)
    ]
    assert len(frames) == 5 * 4
    for each in found[1:]:
        assert each.x_clip == pytest.approx(found[0].x_clip, abs=1e-5)
        assert each.x_as == pytest.approx(found[0].x_as, abs=1e-5)


def test_the_size_of_a_source(tmp_path: Path) -> None:
    assert source_size(tmp_path / "none.mp4") is None
    (tmp_path / "v.mp4").write_bytes(bytes(7))
    assert source_size(tmp_path / "v.mp4") == 7
    (tmp_path / "1.PNG").write_bytes(b"x")
    assert source_size(tmp_path) == 1  # pictures of the folder


def test_names_of_weights_do_not_count_and_their_values_do() -> None:
    assert dataclasses.replace(ORIGIN, pretrained="renamed.pt", seed=7) == ORIGIN
    bundle = load_bundle(DEMO_BUNDLE)
    assert ORIGIN.weights_sha256 == bundle.manifest.clip.weights_sha256
    assert ORIGIN.encoder_sha256 == bundle.manifest.files["encoder.cpu8.onnx"].sha256
    torch = FeatureOrigin.of(bundle, 2, precision="fp16", torch_weights="1" * 64)
    assert (torch.weights_sha256, torch.encoder_sha256, torch.precision) == ("1" * 64, None, "fp16")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_features_that_are_not_finite_are_not_stored(tmp_path: Path, value: float) -> None:
    class Overflowing(FakeBackend):
        def encode(self, *arrays: NDArray[Any]) -> Encoded:
            encoded = super().encode(*arrays)
            encoded.fine[:, -1] = value
            return encoded

    video, bundle = videos.write_video(tmp_path / "v.mp4", frames=3), load_bundle(DEMO_BUNDLE)
    with pytest.raises(SourceError, match=r"v\.mp4: the encoder \(cpu8\) gives values that are not finite in float16"):
        extract_video(video, bundle, Overflowing(bundle), origin=ORIGIN, keep_windows=True)


def test_unreadable_video(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    videos.write_text_as_video(path)
    bundle = load_bundle(DEMO_BUNDLE)
    with open_backend("onnx", bundle).backend as backend, pytest.raises(SourceError, match=r"text\.mp4"):
        extract_video(path, bundle, backend, origin=ORIGIN)
