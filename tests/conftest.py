"""What many tests share and takes seconds to make: seeded CLIP models, once for the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stprompt_edge.bundle import FileEntry
    from stprompt_edge.model.clip import Clip

FOOTAGE = Path(__file__).parents[2] / "shared" / "data" / "videos"


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often this process has read each file of a bundle for its digest, by name; goes on counting."""
    from stprompt_edge.bundle import describe_file, reading

    found: dict[str, int] = {}

    def count(path: Path) -> FileEntry:
        found[path.name] = found.get(path.name, 0) + 1
        return describe_file(path)

    monkeypatch.setattr(reading, "describe_file", count)
    return found


@pytest.fixture(scope="session")
def demo_clip() -> Clip:
    """stprompt-demo-16 with seeded random weights."""
    from stprompt_edge.model.clip import load_clip

    return load_clip("stprompt-demo-16", "none", seed=0)


@pytest.fixture(scope="session")
def vit_b_16() -> Clip:
    """The reference's architecture, ViT-B-16-quickgelu, with seeded random weights."""
    from stprompt_edge.model.clip import load_clip

    return load_clip("ViT-B-16-quickgelu", "none", seed=0)


@pytest.fixture(scope="session")
def footage() -> list[Path]:
    """Two ordinary surveillance-style clips; see ../shared/data/README.md."""
    videos = sorted(FOOTAGE.glob("*.mp4"))
    if len(videos) < 2:
        pytest.skip(f"no footage in {FOOTAGE}")
    return videos
