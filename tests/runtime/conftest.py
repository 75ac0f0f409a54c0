"""preprocess.cu on the host, compiled once for the whole run."""

from __future__ import annotations

import ctypes

import pytest

from tests.fakes.pycuda_driver import compiled_kernels


@pytest.fixture(scope="session")
def library() -> ctypes.CDLL:
    return compiled_kernels()
