"""Footage that is quick to decode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.videos import write_video


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small frames that differ."""
    return write_video(tmp_path_factory.mktemp("footage") / "clip.mp4", frames=40, noise=90)
