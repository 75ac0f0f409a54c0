"""The real kernel on a real device, against the definitions and, bit for bit, against the host's run of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu.driver import CudaPythonDriver, Error
from benchmarks.gpu.reasons import NotMeasured
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing, preprocess
from stprompt_edge.runtime.backends.cuda.kernels.compile import build_cubin
from stprompt_edge.runtime.backends.cuda.kernels.job import ImageType
from stprompt_edge.runtime.backends.cuda.kernels.launch import CudaPreprocessor
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.frames import Nv12Frame
from stprompt_edge.runtime.motion import select_windows
from tests.runtime.backends.cuda.kernels.adapter_stream import AdapterStream, defined, random_embeddings
from tests.runtime.backends.cuda.kernels.host import HostStream
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture, picture

pytestmark = pytest.mark.gpu
LEVEL = 1.001 / 255 / 0.26


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The first device, its context current."""

    driver: Any  # `pycuda.driver`, or what stands in for it
    capability: tuple[int, int]


@pytest.fixture(scope="module")
def gpu() -> Iterator[Gpu]:
    """Through PyCUDA, or where that is not installed through cuda-python."""
    try:
        import pycuda.driver as driver
    except ImportError:
        yield through_cuda_python()
        return
    try:
        driver.init()
        first = driver.Device(0)
    except driver.Error as exc:
        pytest.skip(f"no CUDA device: {exc}")
    context = first.make_context()
    yield Gpu(driver=driver, capability=tuple(first.compute_capability()))
    context.pop()
    context.detach()


def through_cuda_python() -> Gpu:
    try:
        driver = CudaPythonDriver()
        return Gpu(driver=driver, capability=driver.use_first_device())
    except (NotMeasured, Error, RuntimeError) as exc:  # RuntimeError: cuda-python finds no libcuda
        pytest.skip(f"no CUDA device: {exc}")


@pytest.fixture(scope="module")
def cubin(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build_cubin(gpu.capability, tmp_path_factory.mktemp("cubin") / "preprocess.cubin").path.read_bytes()


FRAMES: dict[str, list[Any]] = {
    "1080p": [picture(1920, 1080, seed) for seed in range(4)],
    "4K NV12": [nv12_picture(3840, 2160, seed=seed, matrix="bt709") for seed in range(2)],
    "odd": [picture(641, 359), nv12_picture(227, 225), picture(7, 5), picture(1, 1)],
}


@pytest.mark.parametrize("image_type", ["float16", "float32"])
@pytest.mark.parametrize("name", FRAMES)
def test_the_device_computes_what_the_host_does(
    gpu: Gpu, cubin: bytes, library: ctypes.CDLL, name: str, image_type: ImageType
) -> None:
    settings: dict[str, Any] = {"windows": 12, "timing": "causal", "image_type": image_type, "geometry": Geometry()}
    host, stream = HostStream(library, **settings), gpu.driver.Stream()
    with CudaPreprocessor(cubin, spec=Preprocessing(), driver=gpu.driver, **settings) as preprocessor:
        for frame in FRAMES[name]:
            host.push(frame)
            assert preprocessor.push(frame, stream)
            motion, selection = preprocessor.motion(stream), preprocessor.selection(stream)
            np.testing.assert_allclose(motion, host.result["motion"], rtol=1e-6)
            np.testing.assert_array_equal(selection.indices, select_windows(motion, 12).indices)
            image = preprocessor.read_image(stream)[0]
            np.testing.assert_allclose(image, host.image.astype(np.float32), atol=2e-3, rtol=0)  # a step of float16
            bgr = nv12_to_bgr(frame) if isinstance(frame, Nv12Frame) else frame
            np.testing.assert_allclose(image, preprocess(bgr, Preprocessing()).image, atol=LEVEL + 2e-3, rtol=0)


def test_the_same_frames_give_the_same_bits(gpu: Gpu, cubin: bytes) -> None:
    stream = gpu.driver.Stream()
    runs = []
    for _ in range(3):
        with CudaPreprocessor(
            cubin, spec=Preprocessing(), geometry=Geometry(), windows=12, timing="centered", driver=gpu.driver
        ) as preprocessor:
            for frame in FRAMES["1080p"]:
                preprocessor.push(frame, stream)
            assert preprocessor.flush(stream)
            runs.append((preprocessor.motion(stream).tobytes(), preprocessor.read_image(stream).tobytes()))
    assert len(set(runs)) == 1


@pytest.mark.parametrize(("windows", "width", "sigma"), [(12, 512, 1.0), (1, 64, 0.05), (49, 300, 8.0)])
def test_the_adapter_computes_what_the_host_does(
    gpu: Gpu, cubin: bytes, windows: int, width: int, sigma: float
) -> None:
    embeddings = random_embeddings(200, windows, width)
    stream = AdapterStream(gpu.driver, cubin, windows=windows, width=width, sigma=sigma)
    try:
        for found, expected in zip(stream.run(embeddings), defined(embeddings, sigma), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    finally:
        stream.close()


def test_a_cubin_of_another_device_is_refused(gpu: Gpu, tmp_path: Path) -> None:
    from stprompt_edge.errors import EnvironmentFailure

    other = (9, 0) if gpu.capability[0] == 8 else (8, 7)
    cubin = build_cubin(other, tmp_path / "other.cubin").path.read_bytes()
    with pytest.raises(EnvironmentFailure, match=r"loading preprocess\.cubin"):
        CudaPreprocessor(
            cubin, spec=Preprocessing(), geometry=Geometry(), windows=12, timing="causal", driver=gpu.driver
        )
