"""What tests need and a machine may lack: they are skipped there, but fail where CI has promised it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

PROMISED = "STPROMPT_EDGE_CI"  # set by .ci/run, which installs what is needed


def promised() -> bool:
    """Whether this machine has all but a GPU."""
    return bool(os.environ.get(PROMISED))


def lacking(reason: str) -> NoReturn:
    """Skip a test, or fail it in CI."""
    if promised():
        pytest.fail(f"{reason}; {PROMISED} is set, so this is not skipped")
    pytest.skip(reason)
