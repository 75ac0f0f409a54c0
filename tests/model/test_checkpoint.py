"""Checkpoints: what is saved comes back, and what does not fit is one clear error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stprompt_edge.bundle import MethodSection
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.vocabulary import load_vocabulary


@pytest.fixture(scope="module")
def trained(demo_clip: Clip) -> STPrompt:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return STPrompt(demo_clip, load_vocabulary("ubnormal").class_names, 1.0).eval()


@pytest.fixture(scope="module")
def checkpoint(trained: STPrompt, demo_clip: Clip) -> Checkpoint:
    return Checkpoint(
        clip=demo_clip.section,
        method=MethodSection(name="stprompt", stride=4, seconds_between_samples=0.16),
        vocabulary=load_vocabulary("ubnormal"),
        training={"data": "made up", "auc": 0.75},
        weights=trained.state_dict(),
    )


@pytest.fixture(scope="module")
def ranking(checkpoint: Checkpoint) -> Checkpoint:
    """Of the other method."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = MilRanking(128, 1.0).state_dict()
    method = checkpoint.method.model_copy(update={"name": "mil-ranking", "windows": 49})
    return dataclasses.replace(checkpoint, method=method, weights=weights)


@pytest.fixture
def path(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path / "best.safetensors", checkpoint)
    return tmp_path / "best.safetensors"


def test_round_trip(path: Path, checkpoint: Checkpoint, trained: STPrompt, demo_clip: Clip) -> None:
    loaded = load_checkpoint(path)
    for field in ("clip", "method", "vocabulary", "training"):
        assert getattr(loaded, field) == getattr(checkpoint, field)
    assert [file.name for file in path.parent.iterdir()] == ["best.safetensors"]
    model = loaded.build(demo_clip)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    x = torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for got, expected in zip(model(*x), trained(*x), strict=True):
            torch.testing.assert_close(got, expected, atol=0, rtol=0)


def test_round_trip_of_the_ranking_method(tmp_path: Path, ranking: Checkpoint, demo_clip: Clip) -> None:
    save_checkpoint(tmp_path / "c", ranking)
    model = load_checkpoint(tmp_path / "c").build(demo_clip)
    assert isinstance(model, MilRanking)
    assert not model.training  # dropout is off
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, ranking.weights[name]) for name, tensor in model.state_dict().items())


def test_weights_of_the_other_method(ranking: Checkpoint, checkpoint: Checkpoint, demo_clip: Clip) -> None:
    for one, other in ((ranking, checkpoint), (checkpoint, ranking)):
        with pytest.raises(CheckFailed, match="weights do not fit its description: Unexpected key"):
            dataclasses.replace(one, weights=other.weights).build(demo_clip)


def test_clips_own_weights_are_not_in_it(path: Path) -> None:
    assert {name.split(".")[0] for name in load_checkpoint(path).weights} == {"prompts", "heads"}


def test_weights_that_are_views_are_saved(tmp_path: Path, checkpoint: Checkpoint) -> None:
    weights = {name: tensor.T.clone().T for name, tensor in checkpoint.weights.items() if tensor.ndim == 2}
    save_checkpoint(tmp_path / "c", dataclasses.replace(checkpoint, weights=weights))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_checkpoint(tmp_path / "c").weights.items())


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_no_such_file(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "c")
    with pytest.raises(UsageError, match=r"no checkpoint at .*c\n  fix: give the file that training wrote"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("content", [b"", b"a text file\n" * 20], ids=["empty", "text"])
def test_not_a_safetensors_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(UsageError, match=r"notes\.txt is not a checkpoint of stprompt-edge \(SafetensorError"):
        load_checkpoint(tmp_path / "notes.txt")


def test_a_cut_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match="is not a checkpoint of stprompt-edge"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_safetensors_of_something_else(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors", metadata=metadata)
    with pytest.raises(UsageError, match=r"other\.safetensors is not a checkpoint of stprompt-edge \(KeyError"):
        load_checkpoint(tmp_path / "other.safetensors")


def edited(path: Path, edit: Callable[[Any], Any]) -> Path:
    """The same checkpoint with another description."""
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["stprompt-edge"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    save_file(weights, path, metadata={"stprompt-edge": edit(description)})
    return path


def with_section(**sections: Any) -> Callable[[Any], str]:
    return lambda description: json.dumps({**description, **sections})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: "{", "JSONDecodeError"),
        (lambda d: "[]", "TypeError"),
        (lambda d: "null", "TypeError"),
        (lambda d: "9" * 5000, "ValueError"),
        (lambda d: json.dumps({k: v for k, v in d.items() if k != "training"}), "KeyError: 'training'"),
        (with_section(clip=None), "TypeError"),
        (with_section(clip={"model": 1}), "ValidationError"),
        (with_section(method={"name": "magic", "stride": 4}), "ValidationError"),
        (with_section(method={"name": "zero-shot", "stride": 4}), "ValueError: zero-shot has no weights"),
        (with_section(vocabulary={}), "vocabulary: key 'name' is missing"),
        (with_section(vocabulary=None), "vocabulary: got NoneType, expected a table"),
    ],
)
def test_a_description_that_does_not_fit(path: Path, edit: Callable[[Any], str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_checkpoint(edited(path, edit))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 41}, r"with --clip .* --seed 41, got --clip .* --seed 0\n  fix: pass --clip .* --seed 41$"),
        ({"pretrained": "openai"}, r"got --clip .* --seed 0\n  fix: pass --clip stprompt-demo-16 --pretrained openai$"),
        (
            {},
            r"with (--clip .* --seed 0), got \1 with other weights \(sha256 .{12}, not 0{12}\)\n.*--pretrained PATH",
        ),
    ],
)
def test_other_weights(checkpoint: Checkpoint, demo_clip: Clip, change: dict[str, Any], message: str) -> None:
    clip = checkpoint.clip.model_copy(update={"weights_sha256": "0" * 64, **change})
    with pytest.raises(CheckFailed, match=message):
        dataclasses.replace(checkpoint, clip=clip).build(demo_clip)


def test_the_same_weights_in_another_architecture(checkpoint: Checkpoint, demo_clip: Clip) -> None:
    """As ViT-B-16 and ViT-B-16-quickgelu are."""
    clip = checkpoint.clip.model_copy(update={"model": "ViT-B-16"})
    with pytest.raises(CheckFailed, match=r"with --clip ViT-B-16 .*\n  fix: pass --clip ViT-B-16 --pretrained none"):
        dataclasses.replace(checkpoint, clip=clip).build(demo_clip)


def test_the_same_weights_under_another_name(checkpoint: Checkpoint, demo_clip: Clip) -> None:
    clip = checkpoint.clip.model_copy(update={"pretrained": "renamed.safetensors"})
    dataclasses.replace(checkpoint, clip=clip).build(demo_clip)


@pytest.mark.parametrize("name", ["prompts.context", "heads.adapter.ln_1.weight"])
def test_a_missing_weight(checkpoint: Checkpoint, demo_clip: Clip, name: str) -> None:
    weights = {key: tensor for key, tensor in checkpoint.weights.items() if key != name}
    with pytest.raises(CheckFailed, match=rf"weights do not fit its description: Missing key.*{name}.*\n.*train again"):
        dataclasses.replace(checkpoint, weights=weights).build(demo_clip)


def test_a_weight_of_another_shape(checkpoint: Checkpoint, demo_clip: Clip) -> None:
    weights = {**checkpoint.weights, "prompts.context": torch.zeros(3, 3)}
    with pytest.raises(CheckFailed, match=r"size mismatch for prompts\.context"):
        dataclasses.replace(checkpoint, weights=weights).build(demo_clip)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, checkpoint: Checkpoint, value: float) -> None:
    name = max(checkpoint.weights)
    weights = {**checkpoint.weights, name: checkpoint.weights[name].clone()}
    weights[name].view(-1)[0] = value
    file = tmp_path / "best.safetensors"
    save_checkpoint(file, dataclasses.replace(checkpoint, weights=weights))
    count = weights[name].numel()
    with pytest.raises(UsageError, match=rf"best\.safetensors: 1 of {count} values of {name} are NaN or infinite"):
        load_checkpoint(file)
