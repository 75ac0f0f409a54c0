import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.features.files import (
    estimate_bytes,
    header_bytes,
    load_features,
    load_segments,
    read_header,
    read_windows,
    save_features,
)
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.features.video import extract_video, source_size
from stprompt_edge.runtime.backends.base import Encoded
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.backends.opening import open_backend
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


Change = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def with_tensor(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
    return lambda tensors: {**tensors, name: np.ascontiguousarray(change(tensors[name]))}


def set_first(name: str, value: float) -> Change:
    def change(tensor: NDArray[Any]) -> NDArray[Any]:
        tensor = tensor.copy()
        tensor.flat[0] = value
        return tensor

    return with_tensor(name, change)


def frames_of(*numbers: int) -> Change:
    return lambda tensors: {**tensors, "frames": np.array(numbers, np.int64)}


def changed_file(path: Path, features: VideoFeatures, change: Change) -> Path:
    """A feature file with other tensors behind its own description."""
    save_features(path, features)
    with safe_open(path, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(change(tensors), path, metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_tensor("x_clip", lambda t: t[:, :100]), r"x_as has shape \[5, 128\], expected \[5, 100\]"),
        (with_tensor("x_as", lambda t: t[:-1]), r"x_as has shape \[4, 128\], expected \[5, 128\]"),
        (with_tensor("x_clip", lambda t: t.reshape(-1)), r"x_clip has shape \[640\], expected \[640, D\]"),
        (with_tensor("x_clip", lambda t: t[None]), r"x_clip has shape \[1, 5, 128\], expected \[1, 5\]"),
        (with_tensor("motion", lambda t: t[1:]), r"motion has shape \[4, 49\], expected \[5, 49\]"),
        (with_tensor("motion", lambda t: t[:, :7]), r"(windows has shape|motion has shape \[5, 7\], and 12 windows)"),
        (with_tensor("motion", lambda t: t[:, :0]), r"(windows has shape|motion has shape \[5, 0\], and 12 windows)"),
        (
            lambda tensors: {name: t[:0] for name, t in tensors.items()},
            r"x_clip has shape \[0, 128\], expected \[T, 128\]",
        ),
        (
            lambda tensors: {**tensors, "x_clip": np.zeros((5, 0), np.float16), "x_as": np.zeros((5, 0), np.float16)},
            r"x_clip has shape \[5, 0\], expected \[5, D\]",
        ),
        (lambda tensors: {"x_clip": tensors["x_clip"]}, "has no x_as, only x_clip"),
        (lambda tensors: {name: t for name, t in tensors.items() if name != "motion"}, "has no motion, only "),
        (with_tensor("x_clip", lambda t: t.astype(np.int32)), "x_clip is I32, expected F16"),
        (with_tensor("motion", lambda t: t > 0), "motion is BOOL, expected F16"),
        (frames_of(0, 1), r"frames has shape \[2\], expected \[5\]"),
        (lambda tensors: {**tensors, "frames": np.zeros(5, np.float32)}, "frames is F32, expected I64"),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_tensors_that_do_not_fit_each_other(
    extracted: tuple[VideoFeatures, VideoFeatures], tmp_path: Path, change: Change, message: str, kept: bool
) -> None:
    path = changed_file(tmp_path / "v.safetensors", extracted[0 if kept else 1], change)
    for read in (
        read_header,
        load_features,
        lambda path: load_segments(path, 2),
        lambda path: [*read_windows(path, 2)],
    ):
        with pytest.raises(UsageError, match=rf"^{re.escape(str(path))}:? {message}.*\n.*remove .*extract again"):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_first("x_clip", np.nan), "1 of 640 values of x_clip are NaN or infinite"),
        (set_first("x_as", np.inf), "1 of 640 values of x_as are NaN or infinite"),
        (set_first("motion", -np.inf), "1 of 245 values of motion are NaN or infinite"),
        (with_tensor("motion", lambda t: t * np.nan), "245 of 245 values of motion are NaN or infinite"),
        (frames_of(0, 2, 2, 4, 6), "its numbers of frames do not rise"),
        (frames_of(-2, 0, 2, 4, 6), "its numbers of frames do not rise"),
    ],
)
def test_values_that_are_no_numbers(
    extracted: tuple[VideoFeatures, VideoFeatures], tmp_path: Path, change: Change, message: str
) -> None:
    path = changed_file(tmp_path / "v.safetensors", extracted[1], change)
    with pytest.raises(UsageError, match=rf"^{re.escape(str(path))}: {message}\n.*extract again"):
        load_features(path)


def test_segments_that_are_no_numbers(extracted: tuple[VideoFeatures, VideoFeatures], tmp_path: Path) -> None:
    path = changed_file(tmp_path / "v.safetensors", extracted[0], set_first("windows", np.nan))
    with pytest.raises(UsageError, match=r"1 of 12544 values of windows are NaN or infinite"):
        load_segments(path, 2)
