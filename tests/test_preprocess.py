"""The definition of preprocessing: against a literal version, and against golden values kept in a file.

`golden/preprocess.npz` holds, for each picture, the crc32 of its bytes (so that a changed generator is noticed), the
channel means of its tensor and luma, and both at every 32nd pixel. `python -m tests.test_preprocess` writes it again.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stprompt_edge.preprocess import (
    CLIP_MEAN_RGB,
    CLIP_STD_RGB,
    PreprocessedFrame,
    Preprocessing,
    Preprocessor,
    preprocess,
    resize_to_square,
)

GOLDEN = Path(__file__).parent / "golden" / "preprocess.npz"
EVERY = slice(16, None, 32)  # 7 of 224 pixels along each side
ONE_LEVEL = 1.001 / 255  # OpenCV 4 and 5 round some pixels differently


def gradient(width: int, height: int) -> NDArray[np.uint8]:
    """Blue grows to the right, green downwards, red along the diagonal."""
    y, x = np.mgrid[:height, :width]
    blue, green = x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1)
    return np.stack([blue, green, (blue + green) // 2], axis=2).astype(np.uint8)


def noise(width: int, height: int) -> NDArray[np.uint8]:
    """Integer arithmetic, so the same bytes everywhere."""
    x = np.arange(width * height * 3, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    x ^= x >> np.uint64(15)
    x = x * np.uint64(2246822519) % np.uint64(2**32)
    return (x >> np.uint64(24)).astype(np.uint8).reshape(height, width, 3)


PICTURES = {
    "one pixel": noise(1, 1),
    "noise 7x5": noise(7, 5),
    "noise 500x100": noise(500, 100),  # one axis shrinks, the other grows
    "gradient 100x500": gradient(100, 500),
    "noise 224x224": noise(224, 224),
    "gradient 640x360": gradient(640, 360),
    "noise 768x432": noise(768, 432),
    "noise 1920x1080": noise(1920, 1080),
}
everywhere = pytest.mark.parametrize("name", PICTURES)


def area_weights(source: int, target: int) -> NDArray[np.float64]:
    """[target, source]: which part of each source pixel lies in each target pixel; rows sum to 1."""
    scale = source / target
    starts, pixels = np.arange(target)[:, None] * scale, np.arange(source)[None, :]
    return np.clip(np.minimum(starts + scale, pixels + 1) - np.maximum(starts, pixels), 0, None) / scale


def linear_weights(source: int, target: int) -> NDArray[np.float64]:
    """[target, source]: half-pixel centres, edge pixels repeated."""
    weights = np.zeros((target, source))
    for i in range(target):
        position = (i + 0.5) * source / target - 0.5
        left = int(np.floor(position))
        for pixel, weight in [(left, 1 - (position - left)), (left + 1, position - left)]:
            weights[i, min(max(pixel, 0), source - 1)] += weight
    return weights


def apply(weights_y: NDArray[np.float64], weights_x: NDArray[np.float64], image: NDArray) -> NDArray[np.float64]:
    return np.rint(np.einsum("yh,hwc,xw->yxc", weights_y, image.astype(np.float64), weights_x, optimize=True))


def literal_resize(image: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """The sampling rule at the head of preprocess.py, word by word."""
    height, width = image.shape[:2]
    shrunk_h, shrunk_w = min(height, size), min(width, size)
    small = apply(area_weights(height, shrunk_h), area_weights(width, shrunk_w), image)
    return apply(linear_weights(shrunk_h, size), linear_weights(shrunk_w, size), small)


def pixels(frame: PreprocessedFrame) -> NDArray[np.float32]:
    """Normalisation undone: [3, S, S] RGB, 0..1."""
    mean, std = np.array(CLIP_MEAN_RGB)[:, None, None], np.array(CLIP_STD_RGB)[:, None, None]
    return frame.image * std + mean


@everywhere
def test_equals_the_literal_sampling_rule(name: str) -> None:
    frame = preprocess(PICTURES[name], Preprocessing())
    expected = literal_resize(PICTURES[name], 224)[:, :, ::-1].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixels(frame), expected, atol=ONE_LEVEL, rtol=0)


@everywhere
def test_equals_the_golden_values(name: str) -> None:
    with np.load(GOLDEN) as golden:
        crc, image, luma, means = (golden[f"{name}/{part}"] for part in ("crc32", "image", "luma", "means"))
    assert zlib.crc32(PICTURES[name].tobytes()) == crc, "the picture is not the one that the file was made of"
    frame = preprocess(PICTURES[name], Preprocessing())
    level = ONE_LEVEL / min(CLIP_STD_RGB)
    np.testing.assert_allclose(frame.image[:, EVERY, EVERY], image, atol=level, rtol=0)
    np.testing.assert_allclose(frame.luma[EVERY, EVERY], luma, atol=ONE_LEVEL, rtol=0)
    # a rounding step here and there does not move the mean of 50 000 pixels; half a pixel of shift would
    np.testing.assert_allclose(summary_means(frame), means, atol=0.01, rtol=0)


@everywhere
def test_shape_type_and_layout(name: str) -> None:
    frame = preprocess(PICTURES[name], Preprocessing())
    assert (frame.image.shape, frame.image.dtype) == ((3, 224, 224), np.float32)
    assert (frame.luma.shape, frame.luma.dtype) == ((224, 224), np.float32)
    assert frame.image.flags.c_contiguous
    assert frame.luma.flags.c_contiguous


def test_a_frame_of_the_right_size_is_normalised_exactly() -> None:
    picture = PICTURES["noise 224x224"]
    rgb = picture[:, :, ::-1].astype(np.float64) / 255
    expected = ((rgb - CLIP_MEAN_RGB) / CLIP_STD_RGB).transpose(2, 0, 1)
    np.testing.assert_allclose(preprocess(picture, Preprocessing()).image, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("bgr", "luma"),
    [((0, 0, 0), 0.0), ((255, 255, 255), 1.0), ((255, 0, 0), 0.114), ((0, 255, 0), 0.587), ((0, 0, 255), 0.299)],
)
def test_luma_is_bt601_of_the_resized_frame(bgr: tuple[int, int, int], luma: float) -> None:
    frame = preprocess(np.full((3, 5, 3), bgr, np.uint8), Preprocessing(size=4))
    np.testing.assert_allclose(frame.luma, luma, atol=1e-6)


def test_luma_and_image_come_from_the_same_bytes() -> None:
    frame = preprocess(PICTURES["noise 768x432"], Preprocessing())
    np.testing.assert_allclose(frame.luma, np.tensordot([0.299, 0.587, 0.114], pixels(frame), axes=1), atol=1e-5)


def test_mean_and_std_are_rgb() -> None:
    spec = Preprocessing(size=2, mean_rgb=(0.1, 0.2, 0.3), std_rgb=(1.0, 2.0, 4.0))
    image = preprocess(np.full((2, 2, 3), (51, 102, 153), np.uint8), spec).image
    np.testing.assert_allclose(image[:, 0, 0], [(0.6 - 0.1) / 1, (0.4 - 0.2) / 2, (0.2 - 0.3) / 4], atol=1e-6)


def test_the_preprocessor_gives_arrays_of_its_callers_own() -> None:
    preprocessor = Preprocessor(Preprocessing(size=4))
    first = preprocessor(gradient(4, 4))
    kept = first.image.copy(), first.luma.copy()
    preprocessor(noise(4, 4))
    np.testing.assert_array_equal(first.image, kept[0])
    np.testing.assert_array_equal(first.luma, kept[1])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.binary(min_size=1, max_size=64))
@settings(max_examples=60, deadline=None)
def test_any_picture_gives_a_finite_tensor_and_is_not_changed(width: int, height: int, size: int, seed: bytes) -> None:
    picture = np.resize(np.frombuffer(seed, np.uint8), (height, width, 3))
    picture.flags.writeable = False
    before = picture.copy()
    frame = preprocess(picture, Preprocessing(size=size))
    assert frame.image.shape == (3, size, size)
    assert frame.luma.shape == (size, size)
    assert np.isfinite(frame.image).all()
    assert frame.luma.min() >= 0
    assert frame.luma.max() <= 1.00001
    np.testing.assert_array_equal(picture, before)
    expected = literal_resize(picture, size)
    # rounded twice where one axis shrinks and the other grows: two levels
    np.testing.assert_allclose(resize_to_square(picture, size), expected, atol=2.001, rtol=0)


@given(st.integers(1, 60), st.integers(1, 60), st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=40, deadline=None)
def test_a_constant_picture_gives_a_constant_tensor(width: int, height: int, bgr: tuple[int, int, int]) -> None:
    frame = preprocess(np.full((height, width, 3), bgr, np.uint8), Preprocessing(size=16))
    assert frame.image.min(axis=(1, 2)).tolist() == frame.image.max(axis=(1, 2)).tolist()
    np.testing.assert_allclose(pixels(frame)[:, 0, 0], np.array(bgr[::-1]) / 255, atol=1e-6)
    assert frame.luma.min() == frame.luma.max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"size": -224}, "size must be at least 1, got -224"),
        ({"std_rgb": (0.2, 0.0, 0.2)}, r"std must be positive, got \(0.2, 0.0, 0.2\)"),
        ({"std_rgb": (-1.0, 1.0, 1.0)}, "std must be positive"),
    ],
)
def test_refuses_impossible_parameters(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**change)


def summary_means(frame: PreprocessedFrame) -> list[float]:
    return [float(channel.mean(dtype=np.float64)) for channel in (*frame.image, frame.luma)]


def write_golden() -> None:
    content: dict[str, NDArray] = {}
    for name, picture in PICTURES.items():
        frame = preprocess(picture, Preprocessing())
        content[f"{name}/crc32"] = np.array(zlib.crc32(picture.tobytes()))
        content[f"{name}/image"] = frame.image[:, EVERY, EVERY]
        content[f"{name}/luma"] = frame.luma[EVERY, EVERY]
        content[f"{name}/means"] = np.array(summary_means(frame))
    np.savez_compressed(GOLDEN, **content)  # type: ignore[arg-type]


if __name__ == "__main__":
    write_golden()
