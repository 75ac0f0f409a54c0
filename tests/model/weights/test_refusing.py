"""What is no weights file, or not of this model, is refused with the true reason, and nothing in it is run."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.model.clip import Clip, load_clip
from tests.model.weights.forms import (
    TINY,
    State,
    module_tree,
    save_openai_archive,
    save_safetensors,
    save_torchscript,
    transformers_names,
)

Writer = Callable[[Path, State], Any]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 598641023\n"


def content(data: bytes) -> Writer:
    return lambda path, state: path.write_bytes(data)


def zipped(**entries: bytes) -> Writer:
    def write(path: Path, state: State) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(f"x/{name}", data)

    return write


def cut(writer: Writer, keep: float) -> Writer:
    def write(path: Path, state: State) -> None:
        writer(path, state)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return write


def saved(path: Path, state: State) -> None:
    torch.save(state, path)


def npz(path: Path, state: State) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))


def legacy(path: Path, state: State) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def changed(**more: torch.Tensor | None) -> Writer:
    """Some weights otherwise, or left out; two underscores stand for a dot."""

    def write(path: Path, state: State) -> None:
        new = {**state, **{name.replace("__", "."): tensor for name, tensor in more.items()}}
        torch.save({name: tensor for name, tensor in new.items() if tensor is not None}, path)

    return write


def only(pattern: str, strip: str = "", names: Callable[[State], State] = dict) -> Writer:
    def write(path: Path, state: State) -> None:
        save_safetensors(path, {n.removeprefix(strip): t for n, t in names(state).items() if re.match(pattern, n)})

    return write


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        (content(b""), "is empty"),
        (content(b"not weights"), "is not a weights file: it is text that begins with 'not weights'"),
        (content(b"\x00\x01\x02\xff" * 99), "is not a weights file: it is of no kind that holds weights"),
        (content(LFS), "is a Git LFS pointer to a file of 598,641,023 bytes, not the file itself\n.*git lfs pull"),
        (content(b"<!DOCTYPE html><html>"), "is a web page that was saved in place of the weights\n.*/resolve/"),
        (content(b"\n  <HTML><head>"), "is a web page"),
        (content(b"\xef\xbb\xbf<?xml version='1.0'?><Error>"), "is a web page"),
        (content(b"\x89HDF\r\n\x1a\n" + b"0" * 64), "is not a weights file: it is an HDF5 file"),
        (content(b"\x1f\x8b\x08" + b"0" * 64), "is not a weights file: it is a gzip archive: unpack it"),
        (content(b"\x93NUMPY" + b"0" * 64), "is not a weights file: it is a NumPy array"),
        (zipped(readme=b"hello"), "is not a weights file: it is a zip archive without PyTorch's data"),
        (npz, "is not a weights file: it is a zip archive without PyTorch's data"),
        (zipped(**{"model.json": b"{}"}), "is not a weights file: it is TorchScript of before PyTorch 1.4"),
        (cut(saved, 0.6), "is cut short: the end of the archive is missing after [0-9,]+ bytes"),
        (cut(save_openai_archive, 0.9), "is cut short: the end of the archive is missing"),
        (cut(save_safetensors, 0.5), "is cut short: it has [0-9,]+ of [0-9,]+ bytes"),
        (cut(save_safetensors, 0.0001), "is cut short: it has [0-9,]+ bytes, its header alone"),
        (cut(legacy, 0.5), "is cut short: it ends after [0-9,]+ bytes in the middle"),
        (cut(legacy, 0.00005), "is (cut short|damaged)"),
        (content(b"\x10\0\0\0\0\0\0\0{not json!!!!!!!}"), "is damaged"),
        (zipped(**{"data.pkl": b"\x80\x02junk", "constants.pkl": b""}), "is damaged"),
        (zipped(**{"data.pkl": b"\x80\x02junk"}), "is damaged"),
        (lambda path, state: path.write_bytes(pickle.dumps({"a": 1})), "is damaged"),
        (lambda path, state: torch.save([], path), "holds no weights at all"),
        (lambda path, state: torch.save({"a": torch.ones(1)}, path), "holds no CLIP: its 1 tensors begin with a"),
    ],
)  # fmt: skip
def test_not_a_weights_file(tmp_path: Path, tiny: Clip, state: State, writer: Writer, message: str) -> None:
    path = tmp_path / "weights.pt"
    writer(path, state)
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))} {message}") as caught:
        load_clip(TINY, str(path))
    assert "\n" not in caught.value.what
    assert "\n" not in caught.value.remedy


@pytest.mark.parametrize("exc", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), OSError(12, "no memory")])
def test_want_of_memory_is_not_called_damage(
    tmp_path: Path, tiny: Clip, state: State, monkeypatch: pytest.MonkeyPatch, exc: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise exc

    saved(tmp_path / "weights.pt", state)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(EnvironmentFailure, match=r"there is not enough memory to read .*weights\.pt"):
        load_clip(TINY, str(tmp_path / "weights.pt"))


def test_a_changed_byte_of_an_archive(tmp_path: Path, tiny: Clip, state: State) -> None:
    """OpenAI's archive has a checksum for each weight."""
    path = tmp_path / "ViT-B-16.pt"
    save_openai_archive(path, state)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"ViT-B-16\.pt is damaged \(BadZipFile: Bad CRC-32"):
        load_clip(TINY, str(path))


def resnet(path: Path, state: State) -> None:
    """The first layers of OpenAI's RN50."""
    image = {"visual.conv1.weight": torch.ones(32, 3, 3, 3), "visual.layer1.0.conv1.weight": torch.ones(64, 64, 1, 1)}
    save_safetensors(path, image | {n: t for n, t in state.items() if not n.startswith("visual")})


def timm_clip(path: Path, state: State) -> None:
    text = {n: t for n, t in state.items() if not n.startswith("visual")}
    torch.save({**text, "visual.trunk.patch_embed.proj.weight": torch.ones(8, 3, 16, 16)}, path)


def timm_tower(path: Path, state: State) -> None:
    torch.save({"patch_embed.proj.weight": torch.ones(8, 3, 16, 16), "cls_token": torch.ones(1, 1, 8)}, path)


def partly(path: Path, state: State) -> None:
    named = {n: t for n, t in transformers_names(state).items() if "layers.1.self_attn.k_proj.weight" not in n}
    save_safetensors(path, named)


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        (only("visual"), "holds the visual tower only, not the text tower"),
        (only("visual", "visual."), "holds the visual tower only"),
        (only("vision|visual_proj", names=transformers_names), "holds the visual tower only"),
        (
            lambda path, state: torch.save({"patch_embed.proj.weight": torch.ones(8, 3, 16, 16)}, path),
            "holds the visual",
        ),
        (only("(?!visual)"), "holds the text tower only, not the visual tower"),
        (only("text", names=transformers_names), "holds the text tower only"),
        (resnet, "holds a CLIP whose image tower is a ResNet"),
        (timm_clip, "holds another image tower than a plain ViT"),
        (partly, "is incomplete: .*transformer.resblocks.1.attn.in_proj_weight lacks k"),
        (changed(visual__proj=None), "holds another model than tiny-16: embedding width unknown instead of 32"),
        (changed(ln_final__bias=None), "lacks 1 of the [0-9]+ weights of tiny-16, the first is ln_final.bias"),
        (only("(?!transformer.resblocks.1)"), "holds another model than tiny-16: text layers 1 instead of 2"),
        (
            changed(**{"transformer__resblocks__0__ls_1__gamma": torch.ones(48)}),
            "has 1 weights that tiny-16 has not, the first is transformer.resblocks.0.ls_1.gamma",
        ),
        (changed(ln_final__bias=torch.ones(7)), r": ln_final.bias has shape \[7\], tiny-16 needs \[48\]"),
        (changed(ln_final__bias=torch.ones(48).int()), ": ln_final.bias is int32: the weights are quantized"),
        (changed(visual__proj=torch.full((64, 32), torch.nan)), ": 2048 of 2048 values of visual.proj are NaN"),
        (changed(logit_scale=torch.tensor(torch.inf)), ": 1 of 1 values of logit_scale are NaN or infinite"),
        (
            lambda path, state: torch.save({"student": state, "teacher": state}, path),
            "holds several models: student, teacher",
        ),
    ],
)
def test_not_the_weights_of_this_model(tmp_path: Path, tiny: Clip, state: State, writer: Writer, message: str) -> None:
    path = tmp_path / "weights.pt"
    writer(path, state)
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))}( |(?=:)){message}"):
        load_clip(TINY, str(path))


@pytest.mark.parametrize(
    ("clip", "message", "remedy"),
    [
        ("tiny-16", "image width 192 instead of 64, image layers 6 instead of 3", "pass --clip stprompt-demo-16"),
        ("ViT-B-16", "image width 192 instead of 768, image layers 6 instead of 12", "pass --clip stprompt-demo-16"),
    ],
)
def test_another_architecture_is_described_and_the_one_that_fits_named(
    tmp_path: Path, tiny: Clip, demo_clip: Clip, clip: str, message: str, remedy: str
) -> None:
    path = tmp_path / "demo.pt"
    torch.save(demo_clip.model.state_dict(), path)
    with pytest.raises(UsageError, match=f"demo.pt holds another model than {clip}: {message}.*") as caught:
        load_clip(clip, str(path))
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("w.pt", "pass --clip ViT-B-16 or ViT-B-16-quickgelu"),
        ("openai.pt", "pass --clip ViT-B-16-quickgelu"),
        ("laion2b.pt", "pass --clip ViT-B-16"),
    ],
)
def test_of_two_that_fit_the_activation_chooses(tmp_path: Path, tiny: Clip, name: str, remedy: str) -> None:
    """ViT-B/16 by its shapes, which take no room on the disk."""
    import open_clip

    with torch.device("meta"):
        shapes = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-16")).state_dict()
    torch.save({key: torch.zeros(()).expand(tensor.shape) for key, tensor in shapes.items()}, tmp_path / name)
    with pytest.raises(UsageError, match="image width 768 instead of 64") as caught:
        load_clip(TINY, str(tmp_path / name))
    assert caught.value.remedy == remedy


def test_an_architecture_that_nothing_here_fits(tmp_path: Path, tiny: Clip, state: State) -> None:
    """ViT-B/32's patches, and the positions of its 49 tokens and one."""
    changed(visual__conv1__weight=torch.ones(64, 3, 32, 32), visual__positional_embedding=torch.ones(50, 64))(
        tmp_path / "b32.pt", state
    )
    with pytest.raises(UsageError, match=r"b32\.pt holds another model than tiny-16: patch 32 instead of 16") as caught:
        load_clip(TINY, str(tmp_path / "b32.pt"))
    assert caught.value.remedy == "pass the weights of a ViT with patch 16 at 224 px"


def test_a_folder_is_said_to_be_one(tmp_path: Path, tiny: Clip) -> None:
    with pytest.raises(UsageError, match=r"it is a folder\n.*--pretrained FOLDER/FILE"):
        load_clip(TINY, str(tmp_path))


class Evil:
    """Would make a file when it is unpickled."""

    def __init__(self, path: Path, how: str) -> None:
        self._path, self._how = str(path), how

    def __reduce__(self) -> Any:
        import os
        import subprocess

        calls = {
            "system": (os.system, (f"touch {self._path}",)),
            "mkdir": (os.mkdir, (self._path,)),
            "exec": (exec, (f"open({self._path!r}, 'w').close()",)),
            "popen": (subprocess.check_call, (["touch", self._path],)),
        }
        return calls[self._how]


def evil_zip(path: Path, evil: Evil, state: State) -> None:
    torch.save({"state_dict": state, "epoch": evil}, path)


def evil_legacy(path: Path, evil: Evil, state: State) -> None:
    torch.save({"state_dict": state, "epoch": evil}, path, _use_new_zipfile_serialization=False)


def evil_archive(path: Path, evil: Evil, state: State) -> None:
    """OpenAI's archive with another pickle in it."""
    whole = io.BytesIO()
    save_openai_archive(path, state)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(whole, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, pickle.dumps({"weights": evil}, 2) if name.endswith("/data.pkl") else data)
    path.write_bytes(whole.getvalue())


@pytest.mark.parametrize("how", ["system", "mkdir", "exec", "popen"])
@pytest.mark.parametrize("write", [evil_zip, evil_legacy, evil_archive])
def test_nothing_in_a_file_is_run(
    tmp_path: Path, tiny: Clip, state: State, write: Callable[[Path, Evil, State], None], how: str
) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "mark"
    write(path, Evil(mark, how), state)
    with pytest.raises(UsageError, match=r"evil\.pt is refused: to be read it wants [\w.]+ to be called"):
        load_clip(TINY, str(path))
    assert not mark.exists()
    if write is not evil_archive:  # the file is what it is meant to be
        torch.load(path, weights_only=False)
        assert mark.exists()


def test_a_pickled_model_is_refused_by_its_class(tmp_path: Path, tiny: Clip) -> None:
    torch.save(tiny.model, tmp_path / "whole.pt")
    with pytest.raises(UsageError, match=r"wants open_clip\.model\.CLIP to be called.*\n.*state_dict"):
        load_clip(TINY, str(tmp_path / "whole.pt"))


def test_the_program_of_an_archive_is_not_run(tmp_path: Path, tiny: Clip, state: State) -> None:
    """A program that is not even one does not matter: it is not looked at."""
    path = tmp_path / "archive.pt"
    save_torchscript(path, module_tree(state))
    whole = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(whole, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"no program" if "/code/" in name else source.read(name))
    path.write_bytes(whole.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        with pytest.raises(RuntimeError):
            torch.jit.load(str(path))
    assert torch.equal(load_clip(TINY, str(path)).model.visual.proj, state["visual.proj"])
