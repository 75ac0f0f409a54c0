import doctest
import shutil
from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.features import disk_space
from stprompt_edge.features.disk_space import DiskNeed, disk_need
from stprompt_edge.features.records import FeatureOrigin


def need(**changes: object) -> DiskNeed:
    return DiskNeed(
        **{
            "sampled_frames": {"a": 10, "b": 30, "c": None},
            "stride": 16,
            "keep_windows": True,
            "file_bytes": 2_000_000,
            "aggregated_bytes": 200_000,
            "free_bytes": 61_000_000_000,
            **changes,
        }
    )


def test_doctests() -> None:
    assert doctest.testmod(disk_space).failed == 0


def test_the_line() -> None:
    assert need().line == (
        "3 videos to extract, about 40 sampled frames at stride 16 (1 more of unknown length, not counted): "
        "about 2 MB with --keep windows, 61 GB free"
    )
    assert "unknown" not in need(sampled_frames={"a": 1234}).line
    assert "about 1,234 sampled frames" in need(sampled_frames={"a": 1234}).line


def test_unknown_lengths_weigh_as_the_others() -> None:
    assert need().weights == {"a": 10, "b": 30, "c": 20}
    assert need(sampled_frames={"c": None}).weights == {"c": 1}


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, None),
        ({"free_bytes": 2_000_000 + 3 * 4096}, None),
        (
            {"free_bytes": 2_000_000 + 3 * 4096 - 1},
            r"free some space, choose another --out, --keep aggregated \(about 200 kB\)",
        ),
        ({"free_bytes": 2_000_000}, "--keep aggregated"),  # whole blocks do not fit
        ({"free_bytes": 100_000}, "choose another --out, or try it with --force"),
        ({"free_bytes": 100, "keep_windows": False}, "choose another --out, or try it with --force"),
    ],
)
def test_is_there_room(changes: dict, remedy: str | None) -> None:
    if remedy is None:
        need(**changes).check(Path("f"))
        return
    with pytest.raises(EnvironmentFailure, match=rf"f has .* free, the features of 3 videos need about .*\n.*{remedy}"):
        need(**changes).check(Path("f"))


@pytest.mark.parametrize(("frames", "sampled"), [(1, 1), (4, 1), (5, 2), (400, 100), (None, None)])
def test_frames_are_sampled_from_the_first_on(tmp_path: Path, frames: int | None, sampled: int | None) -> None:
    bundle = load_bundle(DEMO_BUNDLE)
    origin = FeatureOrigin.of(bundle, 4, precision="cpu8")
    found = disk_need(
        {"a": frames}, tmp_path, width=128, fine_count=49, origin=origin, keep_windows=False, index_bytes=100
    )
    assert found.sampled_frames == {"a": sampled}
    per_frame = 2 * 128 * 2 + 49 * 4
    header = 0 if sampled is None else found.file_bytes - 100 - sampled * per_frame
    assert found.file_bytes == 100 + header + (sampled or 0) * per_frame
    assert sampled is None or 500 < header < 1000
    assert found.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    bundle = load_bundle(DEMO_BUNDLE)
    origin = FeatureOrigin.of(bundle, 4)
    with pytest.raises(UsageError, match="cannot write"):
        disk_need({}, tmp_path / "no", width=128, fine_count=49, origin=origin, keep_windows=False, index_bytes=0)
