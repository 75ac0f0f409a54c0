"""An extraction goes on with what is there, and refuses to remake what other settings made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import load_bundle, seal_bundle
from stprompt_edge.datasets import Dataset, LabelledVideo
from stprompt_edge.errors import UsageError
from stprompt_edge.features.extraction import extract_dataset
from stprompt_edge.features.files import load_features
from stprompt_edge.features.settings import ExtractionSettings
from tests import videos

pytest.importorskip("onnxruntime")
SETTINGS = ExtractionSettings(bundle=DEMO_BUNDLE, stride=2, backend="onnx")


def data_set(root: Path, *names: str) -> Dataset:
    found = [LabelledVideo(path=root / name, name=name, label="normal", split="train") for name in names]
    return Dataset(name="d", root=root, videos=tuple(found), class_names=("normal",))


@pytest.fixture
def two(tmp_path: Path) -> Dataset:
    """A video of six frames, and a folder of six pictures."""
    videos.write_video(tmp_path / "v.mp4", frames=6)
    (tmp_path / "shots").mkdir()
    for number in range(6):
        cv2.imwrite(str(tmp_path / "shots" / f"{number}.png"), videos.picture(number, 64, 48))
    return data_set(tmp_path, "v.mp4", "shots")


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def bundle_with(path: Path, **method: Any) -> Path:
    """A copy of the demo bundle whose method section says this."""
    for file in DEMO_BUNDLE.iterdir():
        (path / file.name).parent.mkdir(exist_ok=True)
        (path / file.name).write_bytes(file.read_bytes())
    manifest = load_bundle(path).manifest
    seal_bundle(path, manifest.model_copy(update={"method": manifest.method.model_copy(update=method)}))
    return path


@pytest.mark.parametrize(
    ("changes", "told", "remedy"),
    [
        ({"stride": 3}, "--stride 2, now --stride is 3", "go on with --stride 2, or choose another --out"),
        ({"stride": 16}, "--stride 2, now --stride is 16", "or remove .*f to extract all of it again"),
        ({"windows": 6}, "the bundle's K 12, now the bundle's K is 6", "choose another --out"),
        ({"motion_timing": "causal"}, "the bundle's motion timing centered, now .* is causal", "choose another --out"),
        ({"fps": 5.0}, "--fps none, now --fps is 5", "choose another --out"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_touched(
    two: Dataset, tmp_path: Path, changes: dict[str, Any], told: str, remedy: str
) -> None:
    extract_dataset(two, tmp_path / "f", SETTINGS)
    before = files_of(tmp_path / "f")
    method = {key: value for key, value in changes.items() if key in ("windows", "motion_timing")}
    bundle = bundle_with(tmp_path / "b", **method) if method else DEMO_BUNDLE
    asked = {key: value for key, value in changes.items() if key not in method}
    for settings in (replace(SETTINGS, bundle=bundle, **asked), replace(SETTINGS, bundle=bundle, force=True, **asked)):
        with pytest.raises(UsageError, match=rf"f was extracted with {told}.*\n  fix: .*{remedy}"):
            extract_dataset(two, tmp_path / "f", settings)
    assert files_of(tmp_path / "f") == before


def test_another_precision_is_refused(two: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    extract_dataset(two, tmp_path / "f", SETTINGS)
    with pytest.raises(UsageError, match=r"--precision cpu8, now --precision is fp32 \(first seen at v.mp4\)"):
        extract_dataset(two, tmp_path / "f", replace(SETTINGS, backend="torch"))


def test_a_killed_run_with_another_stride_is_refused_too(two: Dataset, tmp_path: Path) -> None:
    extract_dataset(replace(two, videos=two.videos[:1]), tmp_path / "f", SETTINGS)
    (tmp_path / "f" / "index.json").unlink()
    with pytest.raises(UsageError, match="--stride 2, now --stride is 4"):
        extract_dataset(two, tmp_path / "f", replace(SETTINGS, stride=4))


def test_what_goes_on(two: Dataset, tmp_path: Path) -> None:
    out, first = tmp_path / "f", replace(two, videos=two.videos[:1])

    def done(dataset: Dataset, settings: ExtractionSettings) -> tuple[int, int]:
        found = extract_dataset(dataset, out, settings)
        return found.written, found.skipped

    assert done(first, SETTINGS) == (1, 0)
    assert done(two, SETTINGS) == (1, 1)  # a video was added
    assert done(two, replace(SETTINGS, processes=2, batch=3)) == (0, 2)  # speed alone
    cv2.imwrite(str(tmp_path / "shots" / "6.png"), videos.picture(6, 64, 48))
    assert done(two, SETTINGS) == (1, 1)  # a picture was added
    assert done(two, replace(SETTINGS, keep_windows=True)) == (2, 0)
    assert done(two, SETTINGS) == (0, 2)  # what has windows has all else


@pytest.mark.parametrize(("fps", "seconds"), [(None, 0.0), (5.0, 0.4), (12.5, 0.16)])
def test_the_rate_of_pictures_is_given_or_unknown(
    two: Dataset, tmp_path: Path, fps: float | None, seconds: float
) -> None:
    settings = replace(SETTINGS, fps=fps)
    extract_dataset(two, tmp_path / "f", settings)
    spacing = [load_features(path).seconds_between_samples for path in sorted((tmp_path / "f").glob("*.safetensors"))]
    assert spacing == pytest.approx([seconds, 0.2])  # shots, v.mp4 of 10 fps
    assert extract_dataset(two, tmp_path / "f", settings).skipped == 2


@pytest.mark.parametrize("fps", [0.0, -1.0, 1e9, float("nan")])
def test_rates_that_cannot_be(fps: float) -> None:
    with pytest.raises(UsageError, match=r"--fps is .*\n  fix: pictures per second"):
        replace(SETTINGS, fps=fps)
