"""Tags of open_clip: the cache first, one short question to the hub, no line of another library."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch

from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeWarning, UsageError
from stprompt_edge.model.clip import Clip, load_clip
from stprompt_edge.model.weights import fetch_weights
from tests.model.weights.forms import TINY, TINY_QUICK, State, save_safetensors

REPOSITORY = "timm/vit_base_patch16_clip_224.openai"
NOWHERE = "http://127.0.0.1:9"  # the port of nobody


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, and no hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    return tmp_path


def unreachable(url: str, timeout: float) -> None:
    logging.getLogger("huggingface_hub.utils").warning("a raw line")
    raise OSError("[Errno -2] Name or service not known")


def put_into(cache: Path, repository: str, file: str) -> Path:
    """As the hub's client lays a download out: blobs, and snapshots that link to them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    for name in ("blobs", "refs", "snapshots/0123"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0123")
    (folder / "snapshots" / "0123" / file).symlink_to(Path("../../blobs/abcd"))
    return folder / "blobs" / "abcd"


@pytest.mark.parametrize("error", [OSError("no route to host"), ConnectionError("refused"), RuntimeError("")])
def test_weights_that_cannot_be_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        logging.getLogger("huggingface_hub.utils").warning("a raw line")
        raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    what = (
        r"CLIP weights 'openai' for ViT-B-16-quickgelu are not in the cache and cannot be fetched from huggingface\.co"
    )
    with pytest.raises(EnvironmentFailure, match=rf"{what}: {error}.*\n.*download https.*open_clip_model.*PATH"):
        load_clip("ViT-B-16-quickgelu", "openai")
    assert caplog.records == []
    assert logging.getLogger("huggingface_hub").level != logging.CRITICAL


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_what_is_in_the_cache_needs_no_network(cache: Path, file: str) -> None:
    blob = put_into(cache, REPOSITORY, file)
    blob.write_bytes(b"weights")
    found = fetch_weights(open_clip, "ViT-B-16-quickgelu", "openai")
    assert found.name == file
    assert found.read_bytes() == b"weights"


def test_a_hub_that_answers_is_left_to_open_clip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: asked.append(url))
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: f"/{config['hf_hub']}file")
    assert fetch_weights(open_clip, "ViT-B-16", "laion2b_s34b_b88k") == Path(
        "/laion/CLIP-ViT-B-16-laion2B-s34B-b88K/file"
    )
    assert len(asked) == 1


def test_a_tag_without_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"url": "https://example.com/clip/w.pt"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: config)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: "/cached/w.pt")
    assert fetch_weights(open_clip, "ViT-B-16", "x") == Path("/cached/w.pt")

    def refuse(config: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", refuse)
    with pytest.raises(EnvironmentFailure, match=r"fetched from example\.com: no route to host\n.*https://example"):
        fetch_weights(open_clip, "ViT-B-16", "x")


@pytest.mark.parametrize(("quick", "wrong", "right"), [(True, TINY, TINY_QUICK), (False, TINY_QUICK, TINY)])
def test_a_tag_gives_weights_statistics_and_activation(
    cache: Path, tiny: Clip, state: State, monkeypatch: pytest.MonkeyPatch, quick: bool, wrong: str, right: str
) -> None:
    config = {"hf_hub": "a/b/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "quick_gelu": quick}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: config if tag == "mine" else {})
    save_safetensors(put_into(cache, "a/b", "open_clip_model.safetensors"), state)
    loaded = load_clip(right, "mine")
    assert torch.equal(loaded.model.visual.proj, state["visual.proj"])
    assert (loaded.preprocessing.mean_rgb, loaded.preprocessing.std_rgb) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert loaded.pretrained == "mine"
    with pytest.warns(StpromptEdgeWarning, match=rf"^'mine' was trained .*\(says open_clip\), .* pass --clip {right}$"):
        load_clip(wrong, "mine")


@pytest.mark.parametrize(
    ("clip", "tag", "other"),
    [
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "ViT-B-16"),
        ("ViT-B-16-quickgelu", "datacomp_xl_s13b_b90k", "ViT-B-16"),
        ("stprompt-demo-16", "openai", "ViT-B-16"),
    ],
)
def test_a_tag_of_another_model_names_it(clip: str, tag: str, other: str) -> None:
    with pytest.raises(
        UsageError, match=rf"no pretrained weights '{tag}' for {clip}: it is a tag of {other}"
    ) as caught:
        load_clip(clip, tag)
    assert caught.value.remedy == f"pass --clip {other}"


def test_offline_is_one_line_and_soon(tmp_path: Path) -> None:
    """The real client, with nobody at the other end: it would try for half a minute, twice a line each time."""
    environment = {**os.environ, "HF_ENDPOINT": NOWHERE, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    code = (
        "import time, open_clip; from stprompt_edge.errors import EnvironmentFailure\n"
        "from stprompt_edge.model.weights import fetch_weights\n"
        "start = time.monotonic()\n"
        "try: fetch_weights(open_clip, 'ViT-B-16', 'openai')\n"
        "except EnvironmentFailure as exc: print(exc); print(time.monotonic() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    what, remedy, seconds = done.stdout.splitlines()
    assert what.startswith(
        "CLIP weights 'openai' for ViT-B-16 are not in the cache and cannot be fetched from 127.0.0.1:9"
    )
    assert remedy.startswith(f"  fix: download {NOWHERE}/{REPOSITORY}")
    assert float(seconds) < 10.0
