"""From the published layouts over `extract` to `train`, through the command line."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from typer.testing import CliRunner

from stprompt_edge.cli.app import app
from stprompt_edge.cli.terminal import console
from stprompt_edge.datasets import clip_features
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.features import extraction
from stprompt_edge.features import published as published_features
from stprompt_edge.features.files import load_features
from stprompt_edge.features.index import load_training_videos
from stprompt_edge.features.published import published_origin
from stprompt_edge.model.checkpoint import load_checkpoint
from stprompt_edge.vocabulary import load_vocabulary
from tests import videos


def run(*arguments: object) -> str:
    """What was printed; our errors are raised."""
    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_file", screen)
        patch.setattr(console, "_width", 200)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert not result.exit_code
    return screen.getvalue()


def ped2(root: Path, abnormal: int, normal: int) -> Path:
    """Ped2's layout with videos of two frames; in each abnormal video the last one has abnormal pixels."""
    for split in ("train", "test", "masks"):
        (root / split).mkdir(parents=True)
    video = videos.write_video(root / "train" / "00.mp4", frames=2).read_bytes()
    for number in range(1, normal):
        (root / "train" / f"{number:02}.mp4").write_bytes(video)
    mask = np.zeros((2, 4, 8), bool)
    mask[1] = True
    for number in range(abnormal):
        (root / "test" / f"{number:02}.mp4").write_bytes(video)
        np.savez(root / "masks" / f"{number:02}.npz", mask=np.packbits(mask), shape=np.array(mask.shape))
    return root


def test_ped2_is_extracted_and_trained_on_as_documented(tmp_path: Path) -> None:
    data, features = ped2(tmp_path / "ped2", abnormal=7, normal=5), tmp_path / "features"
    printed = run("extract", data, "--format", "ped2-weak", "--out", features, "--stride", 4, "--backend", "onnx")
    assert "in train, training needs both" not in printed
    assert "the bundle's vocabulary 'scenes' has no class abnormal: use a vocabulary with 'abnormal'" in printed
    entries = json.loads((features / "index.json").read_text())["videos"]
    trained = [entry["label"] for entry in entries if entry["split"] == "train"]
    assert (trained.count("abnormal"), trained.count("normal")) == (6, 4)
    with pytest.raises(UsageError, match=r"'shanghaitech' has no class 'abnormal'") as refused:
        run("train", features, "--out", tmp_path / "none", "--vocabulary", "shanghaitech", "--recipe", "ped2")
    assert "ped2, shanghaitech-binary" in refused.value.remedy
    assert "classes.csv" in refused.value.remedy
    options = ("--vocabulary", "ped2", "--recipe", "ped2", "--pretrained", "demo", "--epochs", 1)
    run("train", features, "--out", tmp_path / "checkpoint", *options)
    checkpoint = load_checkpoint(tmp_path / "checkpoint" / "best.safetensors")
    assert checkpoint.vocabulary.class_names == ("normal", "abnormal")
    assert checkpoint.training["videos"] == 10


def test_classes_that_are_told_later_keep_the_features(tmp_path: Path) -> None:
    data, features = tmp_path / "ShanghaiTech", tmp_path / "features"
    data.mkdir()
    for name in ("01_001", "01_0014"):
        videos.write_video(data / f"{name}.avi", frames=2)
    (data / "SH_Train.txt").write_text("01_001,0\n01_0014,1\n")
    (data / "SH_Test.txt").write_text("01_002,0\n")
    command = ("extract", data, "--out", features, "--stride", 4, "--backend", "onnx")
    assert "has no class abnormal: use a vocabulary with 'abnormal'" in run(*command)
    with pytest.raises(UsageError, match="no class 'abnormal'"):
        load_training_videos(features, load_vocabulary("shanghaitech"))
    (data / "classes.csv").write_text("video,label\n01_0014,fall\n")
    printed = run(*command)
    assert (
        "the bundle's vocabulary 'scenes' has no class fall (did you mean 'falling'?): give `train` one that has"
        in printed
    )
    assert "extracted 0 videos, 2 were there already" in printed
    loaded, _ = load_training_videos(features, load_vocabulary("shanghaitech"))
    assert [video.label for video in loaded] == [0, load_vocabulary("shanghaitech").class_names.index("fall")]


def published(root: Path, width: int) -> Path:
    """The lists and features of VadCLIP's authors, of noise: ten crops to train with, crop 5 to test with."""
    rng, rows = np.random.default_rng(0), {"ucf.csv": ["path,label"], "ucftest.csv": ["path,label"]}
    videos = [("Abuse/Abuse001_x264", "Abuse"), ("Training_Normal_Videos_Anomaly/Normal_Videos001_x264", "Normal")]
    for name, label in videos:
        (root / "UCFClipFeatures" / name).parent.mkdir(parents=True)
        for crop in range(10):
            np.save(root / "UCFClipFeatures" / f"{name}__{crop}.npy", rng.normal(size=(5, width)).astype(np.float16))
            rows["ucf.csv"].append(f"/home/authors/UCFClipFeatures/{name}__{crop}.npy,{label}")
    (root / "UCFClipFeatures" / "Abuse" / "Abuse028_x264__5.npy").write_text("half a download")
    rows["ucftest.csv"].append("/home/authors/UCFClipFeatures/Abuse/Abuse028_x264__5.npy,Abuse")
    for name, lines in rows.items():
        (root / name).write_text("\n".join(lines))
    return root / "ucf.csv"


def test_published_features_are_converted_and_trained_on_without_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = replace(published_origin(), clip="stprompt-demo-16", pretrained="demo")  # its weights are at hand
    monkeypatch.setattr(published_features, "published_origin", lambda: origin)
    monkeypatch.setattr(extraction, "published_origin", lambda: origin)
    monkeypatch.setattr(clip_features, "WIDTH", 128)
    source, features = published(tmp_path / "lists", 128), tmp_path / "features"
    printed = run("extract", source, "--out", features)
    assert "3 videos to extract, about 10 sampled frames at stride 16 (1 more of unknown length" in printed
    assert "free; embeddings of whole frames, without windows" in printed
    assert "left out Abuse/Abuse028_x264.npy: cannot read" in printed
    assert "extracted 0 videos, 2 were there already" in run("extract", source, "--out", features)
    loaded = load_features(features / "Abuse" / "Abuse001_x264.npy.safetensors")
    crop = np.load(source.parent / "UCFClipFeatures/Abuse/Abuse001_x264__5.npy")
    np.testing.assert_array_equal(loaded.x_clip, crop.astype(np.float32))
    assert not loaded.x_as.any()
    assert (loaded.windows, loaded.motion.shape, loaded.origin.stride, loaded.origin.windows) == (None, (5, 0), 16, 0)
    with pytest.raises(UsageError, match="mil-ranking is trained on windows"):
        run("train", features, "--out", tmp_path / "none", "--method", "mil-ranking")
    run("train", features, "--out", tmp_path / "checkpoint", "--epochs", 1)
    method = load_checkpoint(tmp_path / "checkpoint" / "best.safetensors").method
    assert (method.name, method.windows, method.stride, method.motion_timing) == ("stprompt", 0, 16, "causal")


def test_published_features_that_do_not_fit_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, features = published(tmp_path / "lists", 512), tmp_path / "features"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20_000))
    with pytest.raises(EnvironmentFailure, match="features has 20 kB free, the features of 3 videos need about"):
        run("extract", source, "--out", features)
    assert not list(features.rglob("*.safetensors"))
    assert "extracted 2 videos" in run("extract", source, "--out", features, "--force")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stride", 4], "have one row for 16 camera frames, not for 4"),
        (["--keep", "windows"], "have no windows to keep"),
        (["--format", "csv"], "column 'video' is missing"),
    ],
)
def test_options_that_published_features_cannot_follow(tmp_path: Path, options: list[str], message: str) -> None:
    source = published(tmp_path, 512)
    with pytest.raises(UsageError, match=message):
        run("extract", source, "--out", tmp_path / "features", *options)
    assert not (tmp_path / "features").exists()


def test_extract_says_first_that_ped2_as_it_is_cannot_be_trained_on(tmp_path: Path) -> None:
    data = ped2(tmp_path / "ped2", abnormal=1, normal=1)
    printed = run("extract", data, "--out", tmp_path / "features", "--stride", 4, "--backend", "onnx")
    first = printed.splitlines()[0]
    assert first.startswith("warning: data set 'ped2' has 1 normal and 0 abnormal videos in train, training needs both")
    assert first.endswith("--format ped2-weak")
    assert (tmp_path / "features" / "index.json").is_file()  # said, not refused: some folders are for testing only
