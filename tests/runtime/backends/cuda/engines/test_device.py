"""The device through a driver that is not there."""

from __future__ import annotations

import pytest

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.device import CudaSession, version_text
from tests.fakes.pycuda_driver import FakeDriver


def test_what_it_is() -> None:
    driver = FakeDriver(name="NVIDIA GeForce RTX 4090", capability=(8, 9))
    session = CudaSession(driver)
    device = session.device
    assert (device.name, device.architecture, device.capability_text) == ("NVIDIA GeForce RTX 4090", "89", "8.9")
    assert (device.cuda_driver, device.cuda_toolkit) == ("12.6", "12.6")
    session.close()
    session.close()
    assert (driver.contexts, driver.current) == (0, 0)


def test_the_context_is_current_only_inside() -> None:
    driver = FakeDriver()
    session = CudaSession(driver)
    with session.current("testing"):
        assert driver.current == 1
    with pytest.raises(ValueError, match="mine"), session.current("testing"):
        raise ValueError("mine")
    assert driver.current == 0


def test_no_gpu() -> None:
    with pytest.raises(EnvironmentFailure, match="the driver lists no NVIDIA GPU"):
        CudaSession(FakeDriver(devices=0))


def test_what_the_driver_says_becomes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()

    def refuse(flags: int = 0) -> None:
        raise driver.Error("cuInit failed: no CUDA-capable device is detected")

    monkeypatch.setattr(driver, "init", refuse)
    with pytest.raises(EnvironmentFailure, match="CUDA failed while starting the driver: cuInit failed: no CUDA"):
        CudaSession(driver)


def test_memory_that_runs_out_has_its_own_remedy() -> None:
    driver = FakeDriver()
    session = CudaSession(driver)
    driver.limit_bytes = 10
    with (
        pytest.raises(EnvironmentFailure, match=r"(?s)GPU memory ran out while testing.*close what else uses the GPU"),
        session.current("testing"),
    ):
        driver.mem_alloc(11)


@pytest.mark.parametrize(("number", "text"), [(12060, "12.6"), (13000, "13.0"), (11080, "11.8")])
def test_versions(number: int, text: str) -> None:
    assert version_text(number) == text
