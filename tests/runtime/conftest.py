"""preprocess.cu on the host, compiled once for the whole run."""

from __future__ import annotations

import ctypes

import pytest

from tests.runtime.backends.cuda.kernels.host import build_library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_library(tmp_path_factory.mktemp("kernels"))
