"""Weights of a tag of open_clip: from the cache if they are there, else from where open_clip finds them, quietly."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stprompt_edge.errors import EnvironmentFailure

_ANSWER_SECONDS = 5.0  # the hub's client itself would try six times for each of two names, for a minute


def fetch_weights(open_clip: Any, name: str, tag: str) -> Path:
    """The file that a tag of open_clip stands for. What is in the cache needs no network.

    Raises:
        EnvironmentFailure: it is neither in the cache nor can it be fetched.
    """
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    config = open_clip.get_pretrained_cfg(name, tag)
    repository, file = os.path.split(config.get("hf_hub", ""))  # as open_clip reads it
    files = [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    url = _hub_url(repository, files[0]) if repository else config["url"]
    with quiet_logger("huggingface_hub", logging.CRITICAL):  # it logs each try, there and through the root logger
        cached = _cached(repository, files) if repository else None
        if cached:
            return cached
        try:
            if repository:
                _ask_once(url)
            return Path(open_clip.download_pretrained(config))
        except Exception as exc:  # the hub's client and its HTTP library raise many kinds
            line = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:160]
            raise EnvironmentFailure(
                f"CLIP weights '{tag}' for {name} are not in the cache and cannot be fetched from "
                f"{urlsplit(url).netloc}: {line}",
                remedy=f"download {url} on a connected machine and pass the file: --pretrained PATH",
            ) from exc


def _hub_url(repository: str, file: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository, file)


def _cached(repository: str, files: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _ask_once(url: str) -> None:
    """One short question, without a second try: is the hub there at all?"""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.utils import EntryNotFoundError

    with suppress(EntryNotFoundError):  # it answers; open_clip has another name to try
        get_hf_file_metadata(url, timeout=_ANSWER_SECONDS)


@contextmanager
def quiet_logger(name: str | None, level: int) -> Iterator[None]:
    """Nothing under `level` is logged by this logger of another library (None: the root) while the body runs."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
