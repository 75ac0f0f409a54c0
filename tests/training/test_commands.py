"""`train` from a folder of features to checkpoints, figures and curves, through the command line."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from safetensors.torch import save_file
from typer.testing import CliRunner

import stprompt_edge
from stprompt_edge.cli.app import app
from stprompt_edge.cli.terminal import console
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.features.files import load_features, save_features
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.files import only_writer
from stprompt_edge.model.checkpoint import load_checkpoint
from stprompt_edge.model.clip import load_clip
from stprompt_edge.training.fit import BEST_NAME, LAST_NAME, Fit

WIDTH = 128
NAMES = {"best.safetensors", "last.safetensors", "state.safetensors", "curves.csv", "curves.png"}


@functools.cache
def made_by(**changes: Any) -> FeatureOrigin:
    """An origin that fits the recipe, with these changes."""
    origin = FeatureOrigin(
        clip="stprompt-demo-16", pretrained="none", seed=0, precision="fp32", encoder_sha256=None, stride=8, windows=12,
        motion_timing="centered", weights_sha256=load_clip("stprompt-demo-16", "none").weights_sha256,
    )  # fmt: skip
    return dataclasses.replace(origin, **changes)


def write_features(folder: Path, labels: Sequence[str], *, keep: bool = True, **changes: Any) -> Path:
    """Features of noise, as `extract` leaves them; `changes` are of their origin."""
    rng = np.random.default_rng(0)
    origin = made_by(**changes)
    entries = []
    for n, label in enumerate(labels):
        x = rng.normal(size=(5 + n % 3, WIDTH)).astype(np.float32)
        kept = rng.normal(size=(len(x), 49, WIDTH)).astype(np.float16) if keep else None
        features = VideoFeatures(
            origin=origin, seconds_between_samples=0.32, x_clip=x, x_as=x, motion=np.zeros((len(x), 49), np.float32),
            windows=kept,
        )  # fmt: skip
        save_features(folder / f"v{n}.safetensors", features)
        entries.append({"name": f"v{n}.mp4", "label": label, "split": "train", "file": f"v{n}.safetensors"})
    (folder / "index.json").write_text(json.dumps({"videos": entries}))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text("stride = 8\nbatch = 8\nsegments = 4\nepochs = 2\n")
    return path


@pytest.fixture
def features(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    return write_features(tmp_path / "features", ["normal", "Fighting"] * 10)


def train(features: Path, out: Path, recipe: Path, *options: str) -> tuple[int, str]:
    """Exit code and what was printed; our errors are raised."""
    arguments = ["train", str(features), "--out", str(out), "--recipe", str(recipe), *options]
    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_file", screen)
        patch.setattr(console, "_width", 200)
        result = CliRunner().invoke(app, arguments, standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value or result.exit_code, screen.getvalue()


@pytest.mark.parametrize("method", ["stprompt", "mil-ranking"])
def test_train_writes_checkpoints_figures_and_curves(method: str, features: Path, recipe: Path, tmp_path: Path) -> None:
    code, printed = train(features, tmp_path / "out", recipe, "--method", method)
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == NAMES
    lines = printed.splitlines()
    assert lines[0].startswith("epoch   1 of 2   loss ")
    assert "validation " in lines[1]
    assert "AUC " in lines[1]
    assert lines[-1] == f"wrote {tmp_path / 'out' / BEST_NAME}"
    checkpoint = load_checkpoint(tmp_path / "out" / LAST_NAME)
    assert checkpoint.method.name == method
    assert checkpoint.method.stride == 8
    assert checkpoint.method.seconds_between_samples == pytest.approx(0.32)
    windows, timing = {"stprompt": (12, "centered"), "mil-ranking": (49, "causal")}[method]
    assert (checkpoint.method.windows, checkpoint.method.motion_timing) == (windows, timing)


@pytest.mark.parametrize(
    ("out", "options", "told"),
    [
        ("features", (), r"the output folder .*features is the folder of features"),
        ("a", ("--recipe", "a/curves.csv"), r"the output a/curves.csv is the recipe a/curves.csv"),
        ("a", ("--vocabulary", "./a/state.safetensors"), r"state.safetensors is the vocabulary a/state.safetensors"),
        ("a", ("--pretrained", "a/last.safetensors.partial"), r"the output a/last.safetensors.partial is the weights"),
        ("a", ("--recipe", "a/.lock"), r"the output a/.lock is the recipe a/.lock"),
        ("b", (), r"the output b/best.safetensors is v3.safetensors of the folder of features"),
    ],
)
def test_nothing_that_is_trained_from_is_written_over(
    features: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    out: str, options: tuple[str, ...], told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("curves.csv", "last.safetensors.partial", ".lock"):
        (tmp_path / "a" / name).write_text(recipe.read_text())
    vocabulary = Path(stprompt_edge.__file__).parent / "vocabularies" / "ucf-crime.toml"
    (tmp_path / "a" / "state.safetensors").write_text(vocabulary.read_text())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "best.safetensors").hardlink_to(features / "v3.safetensors")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=told):
        train(features, Path(out), recipe, *options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_name_that_ships_may_be_the_folders(
    features: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ucf-crime").mkdir()
    assert train(features, Path("ucf-crime"), recipe, "--vocabulary", "ucf-crime")[0] == 0


def test_folders_whose_names_are_not_utf_8(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    write_features(folder, ["normal", "Fighting"] * 10)
    out = tmp_path / os.fsdecode(b"\xdcber")
    assert train(folder, out, recipe)[0] == 0
    assert train(folder, out, recipe)[0] == 0  # and reads its own state
    assert load_checkpoint(out / BEST_NAME).method.stride == 8


@pytest.mark.parametrize("method", ["stprompt", "mil-ranking"])
def test_ctrl_c_and_the_same_command_again_end_in_the_same_weights(
    method: str, features: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(features, tmp_path / "whole", recipe, "--method", method)
    save = Fit.save
    with monkeypatch.context() as patch:

        def save_and_interrupt(fit: Fit, out: Path) -> None:
            save(fit, out)
            signal.raise_signal(signal.SIGINT)

        patch.setattr(Fit, "save", save_and_interrupt)
        code, printed = train(features, tmp_path / "parts", recipe, "--method", method)
    assert code == 130
    assert "interrupted: the same command goes on" in printed
    assert {path.name for path in (tmp_path / "parts").iterdir()} == NAMES
    code, printed = train(features, tmp_path / "parts", recipe, "--method", method)
    assert code == 0
    assert printed.startswith("epoch   2 of 2")
    for name in NAMES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_ctrl_c_in_the_first_epoch_leaves_nothing(
    features: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = Fit.epoch

    def interrupted(fit: Fit, *arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return epoch(fit, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Fit, "epoch", interrupted)
    assert train(features, tmp_path / "out", recipe)[0] == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_a_second_training_into_the_same_folder(features: Path, recipe: Path, tmp_path: Path) -> None:
    with only_writer(tmp_path / "out"), pytest.raises(UsageError, match=r"another run is writing to .*out"):
        train(features, tmp_path / "out", recipe)


def test_another_method_in_the_same_folder(features: Path, recipe: Path, tmp_path: Path) -> None:
    train(features, tmp_path / "out", recipe, "--epochs", "1")
    with pytest.raises(CheckFailed, match="holds the state of another training"):
        train(features, tmp_path / "out", recipe, "--method", "mil-ranking")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            ["normal", "Fighting"],
            ["--method", "mil-rankin"],
            r"unknown method 'mil-rankin'\n.*did you mean 'mil-ranking'",
        ),
        (
            ["normal", "Fighting"],
            ["--recipe", "ucf-crime"],
            r"have stride 8, the recipe ucf-crime has 16\n.*--stride 16",
        ),
        (["normal", "Fighting", "Jumping"], [], r"vocabulary 'ucf-crime' has no class 'Jumping'"),
        (["normal", "normal"], [], "no abnormal video to train on"),
        (["Fighting", "Arson"], [], "no normal video to train on"),
        (["normal", "Fighting"], ["--method", "mil-ranking"], r"v0\.mp4 have no windows.*\n.*extract --keep windows"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, recipe: Path, labels: list[str], options: list[str], message: str) -> None:
    write_features(tmp_path, labels, keep=False)
    with pytest.raises(UsageError, match=message):
        train(tmp_path, tmp_path / "out", recipe, *options)
    assert not (tmp_path / "out").exists()


def test_a_negative_seed(features: Path, recipe: Path, tmp_path: Path) -> None:
    arguments = ["train", str(features), "--out", str(tmp_path / "out"), "--recipe", str(recipe), "--seed", "-1"]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, type(result.exception)) == (
        2,
        SystemExit,
    )  # of the option itself
    assert "--seed" in result.output


def test_features_of_other_windows_matter_to_stprompt_only(tmp_path: Path, recipe: Path) -> None:
    write_features(tmp_path, ["normal", "Fighting"], windows=5)
    with pytest.raises(UsageError, match=r"are of 5 windows, the recipe .* has 12\n.*windows = 5"):
        train(tmp_path, tmp_path / "out", recipe)
    assert train(tmp_path, tmp_path / "out", recipe, "--method", "mil-ranking")[0] == 0


def test_other_weights_of_the_same_name(features: Path, tmp_path: Path, recipe: Path) -> None:
    """As a file openai.pt that is not the one the features were made with."""
    write_features(features, ["normal", "Fighting"], weights_sha256="0" * 64)
    message = r"features in .* were made with the weights none of stprompt-demo-16 \(sha256 0+\), got none \(.*\n.*PATH"
    with pytest.raises(CheckFailed, match=message):
        train(features, tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_name(features: Path, tmp_path: Path, recipe: Path) -> None:
    write_features(features, ["normal", "Fighting"], pretrained="openai-B16.pt")
    with pytest.raises(CheckFailed, match=r"made with the weights openai-B16\.pt of .*, got demo "):
        train(features, tmp_path / "out", recipe, "--pretrained", "demo")
    with pytest.raises(UsageError, match=r"weights that the features were made with are not here: .*B16\.pt.*\n.*PATH"):
        train(features, tmp_path / "out", recipe)
    weights = tmp_path / "renamed.safetensors"
    save_file(load_clip("stprompt-demo-16", "none").model.state_dict(), weights)
    assert train(features, tmp_path / "out", recipe, "--epochs", "1", "--pretrained", str(weights))[0] == 0
    assert load_checkpoint(tmp_path / "out" / BEST_NAME).clip.pretrained == "renamed.safetensors"


def test_the_origin_is_that_of_the_training_videos(tmp_path: Path, recipe: Path) -> None:
    """A test video of another extraction stands first in the index."""
    write_features(tmp_path, ["normal", "normal", "Fighting"], stride=16)
    index = json.loads((tmp_path / "index.json").read_text())
    index["videos"][0]["split"] = "test"
    (tmp_path / "index.json").write_text(json.dumps(index))
    replace_origin(tmp_path / "v0.safetensors", stride=8)
    with pytest.raises(UsageError, match=r"features have stride 16, the recipe .* has 8"):
        train(tmp_path, tmp_path / "out", recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "fp16"}, r"precision of v0\.safetensors is fp32, of v1\.safetensors fp16\n.*one new folder"),
        ({"stride": 4}, r"stride of v0\.safetensors is 8, of v1\.safetensors 4\n"),
        ({"encoder_sha256": "0" * 64}, r"encoder_sha256 of v0\.safetensors is None, of v1\.safetensors 0+\n"),
    ],
)
def test_training_videos_of_different_origin(
    tmp_path: Path, recipe: Path, change: dict[str, Any], message: str
) -> None:
    write_features(tmp_path, ["normal", "Fighting"])
    replace_origin(tmp_path / "v1.safetensors", **change)
    with pytest.raises(UsageError, match=message):
        train(tmp_path, tmp_path / "out", recipe)


def replace_origin(path: Path, **changes: Any) -> None:
    save_features(path, dataclasses.replace(load_features(path), origin=made_by(**changes)))


def test_values_that_are_not_finite(tmp_path: Path, recipe: Path) -> None:
    write_features(tmp_path, ["normal", "Fighting"])
    x = np.full((3, WIDTH), np.nan, np.float32)
    broken = VideoFeatures(
        origin=made_by(),
        seconds_between_samples=0.32,
        x_clip=x,
        x_as=x,
        motion=np.zeros((3, 49), np.float32),
        windows=None,
    )
    save_features(tmp_path / "v1.safetensors", broken)
    with pytest.raises(UsageError, match=r"v1\.safetensors: 384 of 384 values of x_as are NaN .*\n.*remove .*/v1\.saf"):
        train(tmp_path, tmp_path / "out", recipe)


@pytest.mark.parametrize(
    ("width", "windows", "message"),
    [
        (WIDTH, 48, rf"v1\.safetensors has embeddings of width {WIDTH} and motion of 48 windows, v0.* {WIDTH} and 49"),
        (100, 49, rf"v1\.safetensors has embeddings of width 100 and motion of 49 windows, v0.* {WIDTH} and 49"),
        (WIDTH, 11, r"v1\.safetensors: motion has shape \[3, 11\], and 12 windows were chosen by it"),
    ],
)
def test_features_of_another_shape(tmp_path: Path, recipe: Path, width: int, windows: int, message: str) -> None:
    write_features(tmp_path, ["normal", "Fighting"])
    x = np.ones((3, width), np.float32)
    other = VideoFeatures(
        origin=made_by(), seconds_between_samples=0.32, x_clip=x, x_as=x, motion=np.zeros((3, windows), np.float32),
        windows=None,
    )  # fmt: skip
    save_features(tmp_path / "v1.safetensors", other)
    with pytest.raises(UsageError, match=rf"{message}.*\n.*remove .*/v1\.safetensors, then extract again"):
        train(tmp_path, tmp_path / "out", recipe)
