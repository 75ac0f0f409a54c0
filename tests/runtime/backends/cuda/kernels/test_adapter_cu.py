"""adapter.cu, compiled for the host and launched by `CudaAdapter`, against motion.py and temporal.py."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.kernels.adapter import ADAPTER_JOB, ALIGNMENT, CudaAdapter, result_type
from tests.fakes.pycuda_driver import FakeDriver
from tests.fakes.streams import NON_BLOCKING
from tests.runtime.backends.cuda.kernels.adapter_stream import AdapterStream, defined, random_embeddings

STEPS = 200


@pytest.mark.parametrize(
    ("windows", "width", "sigma"),
    [
        (1, 64, 1.0),
        (12, 512, 1.0),  # the paper's
        (12, 512, 0.05),  # one frame alone
        (49, 512, 2.5),
        (7, 300, 20.0),  # longer than the stream
        (12, 1, 0.3),
        (12, 257, 8.0),
    ],
)
def test_a_stream_equals_the_hosts(windows: int, width: int, sigma: float) -> None:
    driver, embeddings = FakeDriver(current=1), random_embeddings(STEPS, windows, width)
    alone = driver.Stream(NON_BLOCKING)  # not even ordered with the driver's default stream
    stream = AdapterStream(driver, b"cubin", windows=windows, width=width, sigma=sigma, stream=alone)
    for found, expected in zip(stream.run(embeddings), defined(embeddings, sigma), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    stream.close()
    assert driver.held == 0
    assert driver.launches == ["adapter"] * STEPS


@settings(max_examples=60, deadline=None)
@given(
    windows=st.integers(1, 49),
    width=st.integers(1, 600),
    sigma=st.floats(0.02, 30),
    steps=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_any_sizes(windows: int, width: int, sigma: float, steps: int, seed: int) -> None:
    embeddings = random_embeddings(steps, windows, width, seed)
    results = []
    for backwards in (False, True):
        driver = FakeDriver(current=1, backwards=backwards)
        stream = AdapterStream(driver, b"cubin", windows=windows, width=width, sigma=sigma)
        results.append(np.array(list(stream.run(embeddings))))
        stream.close()
    np.testing.assert_array_equal(*results)  # whatever the order of the threads
    np.testing.assert_allclose(results[0], np.array(list(defined(embeddings, sigma))), atol=1e-5, rtol=0)


@pytest.mark.parametrize("motion", [0.0, 1e-20, 3.0, 1e4])
def test_equal_motion_is_a_plain_mean(motion: float) -> None:
    embeddings = random_embeddings(2, 12, 64)
    embeddings.motion_TK[:] = motion
    stream = AdapterStream(FakeDriver(current=1), b"cubin", windows=12, width=64, sigma=1.0)
    for position, (features, _) in enumerate(stream.run(embeddings)):
        mean = embeddings.windows_TKD[position].mean(axis=0)
        np.testing.assert_allclose(features, embeddings.frame_TD[position] + mean, atol=1e-5)


def test_what_comes_back_does_not_change_afterwards() -> None:
    stream = AdapterStream(FakeDriver(current=1), b"cubin", windows=3, width=64, sigma=1.0)
    (first, _), (second, _) = stream.run(random_embeddings(2, 3, 64))
    assert not np.allclose(first, second)


def test_engines_may_be_bound_to_every_address() -> None:
    stream = AdapterStream(FakeDriver(current=1), b"cubin", windows=3, width=65, sigma=1.0)
    adapter = stream.adapter
    addresses = [*adapter.encoder_outputs.values(), *adapter.heads_inputs.values(), *adapter.heads_outputs.values()]
    assert all(address % ALIGNMENT == 0 for address in addresses)
    assert adapter.encoder_outputs["frame"] == adapter.heads_inputs["clip"]
    assert len(set(addresses)) == 5


def test_the_heads_outputs_are_in_the_one_copy() -> None:
    driver = FakeDriver(current=1)
    adapter = AdapterStream(driver, b"cubin", windows=3, width=64, sigma=1.0).adapter
    driver.memcpy_htod(adapter.heads_outputs["anomaly_logit"], np.float32([3]))
    driver.memcpy_htod(adapter.heads_outputs["similarity"], np.arange(14, dtype=np.float32))
    stream = driver.Stream()
    adapter.enqueue_results(stream)
    stream.synchronize()
    found = adapter.results()
    assert found["anomaly_logit"] == 3
    np.testing.assert_array_equal(found["similarity"], np.arange(14))


def test_python_and_the_kernel_agree_on_the_job(library: ctypes.CDLL) -> None:
    offsets = (ctypes.c_int * 5)()
    assert library.adapter_layout(offsets) == ADAPTER_JOB.itemsize
    assert ADAPTER_JOB.fields is not None
    names = ["frame", "weights", "state", "width", "slots"]
    assert list(offsets) == [ADAPTER_JOB.fields[name][1] for name in names]


def test_results_are_small() -> None:
    assert result_type(512, 14).itemsize == 2 * 2048 + 2 * 256


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "module_from_buffer",
            r"CUDA failed while loading adapter\.cu of preprocess\.cubin: module_from_",
        ),
        ("get_function", r"loading adapter\.cu of preprocess\.cubin: get_function failed"),  # an older cubin
        ("mem_alloc", "CUDA failed while allocating device memory"),
        ("pagelocked_empty", "CUDA failed while allocating device memory"),
        ("launch", r"CUDA failed while launching adapter\.cu"),
    ],
)
def test_what_the_driver_refuses_is_one_line(call: str, message: str) -> None:
    driver = FakeDriver(current=1, failing=call)

    def run() -> None:
        adapter = CudaAdapter(b"cubin", motion=0, width=8, windows=2, classes=3, sigma=1.0, driver=driver)
        try:
            adapter.enqueue(driver.Stream())
        finally:
            adapter.close()
            adapter.close()

    with pytest.raises(EnvironmentFailure, match=message) as caught:
        run()
    assert "build-engine" in caught.value.remedy
    assert driver.held == 0
