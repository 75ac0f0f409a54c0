"""A checkpoint: trained weights of a method and everything needed to use them, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from stprompt_edge.bundle import ClipSection, MethodName, MethodSection
from stprompt_edge.errors import CheckFailed, UsageError
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.model.clip import NO_WEIGHTS, Clip
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.net import Net
from stprompt_edge.model.stprompt import STPrompt
from stprompt_edge.vocabulary import Vocabulary, vocabulary_from_dict, vocabulary_to_dict

_METADATA_KEY = "stprompt-edge"
_NETS: dict[MethodName, Callable[[Clip, Sequence[str], float], Net]] = {  # of CLIP, class names and sigma
    "stprompt": STPrompt,
    "mil-ranking": lambda clip, class_names, sigma: MilRanking(clip.section.embedding_width, sigma),
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds."""

    clip: ClipSection
    method: MethodSection
    vocabulary: Vocabulary
    training: dict[str, Any]
    weights: dict[str, torch.Tensor]

    def build(self, clip: Clip) -> Net:
        """The model of the checkpoint's method with these weights.

        Raises:
            CheckFailed: if `clip` is not the encoder that the weights were trained on.
        """
        if (clip.name, clip.weights_sha256) != (self.clip.model, self.clip.weights_sha256):
            trained, given = encoder_options(self.clip), encoder_options(clip.section)
            remedy = f"pass {trained}"
            if trained == given:  # another file of that name, or what a tag stands for has changed
                given += f" with other weights (sha256 {clip.weights_sha256[:12]}, not {self.clip.weights_sha256[:12]})"
                remedy = "pass the weights that it was trained with: --pretrained PATH"
            raise CheckFailed(f"the checkpoint was trained with {trained}, got {given}", remedy=remedy)
        model = _NETS[self.method.name](clip, self.vocabulary.class_names, self.method.sigma)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as exc:
            raise CheckFailed(
                f"the checkpoint's weights do not fit its description: {str(exc).splitlines()[-1].strip()}",
                remedy="train again, or pass the checkpoint that training wrote",
            ) from exc
        return model.eval().requires_grad_(False)


def encoder_options(clip: ClipSection) -> str:
    """The encoder as the command line names it; the seed counts only where the weights are made from it."""
    seed = f" --seed {clip.seed}" if clip.pretrained == NO_WEIGHTS else ""
    return f"--clip {clip.model} --pretrained {clip.pretrained}{seed}"


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all. Raises as `files.disk_errors`."""
    description = {
        "clip": checkpoint.clip.model_dump(),
        "method": checkpoint.method.model_dump(),
        "vocabulary": vocabulary_to_dict(checkpoint.vocabulary),
        "training": checkpoint.training,
    }
    weights = {name: tensor.contiguous() for name, tensor in checkpoint.weights.items()}
    write_bytes_atomic(path, save(weights, metadata={_METADATA_KEY: json.dumps(description)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UsageError: if there is no such file, it is not one of ours, or a weight is NaN or infinite.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint at {path}", remedy="give the file that training wrote (best.safetensors)")
    try:
        with safe_open(path, framework="np") as file:  # "pt" takes paths alone that are UTF-8
            description = json.loads((file.metadata() or {})[_METADATA_KEY])
            weights = {name: torch.from_numpy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118  not a dict
        _check_finite(path, weights)
        method = MethodSection(**description["method"])
        if method.name not in _NETS:
            raise ValueError(f"{method.name} has no weights")
        return Checkpoint(
            clip=ClipSection(**description["clip"]),
            method=method,
            vocabulary=vocabulary_from_dict(description["vocabulary"], where=f"{path}, vocabulary"),
            training=description["training"],
            weights=weights,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as exc:  # ValueError: also pydantic's and json's
        raise UsageError(
            f"{path} is not a checkpoint of stprompt-edge ({type(exc).__name__}: {str(exc).splitlines()[0]})",
            remedy="give the file that training wrote (best.safetensors)",
        ) from exc


def _check_finite(path: Path, weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in weights.items():
        lost = int(tensor.numel() - torch.isfinite(tensor).sum())
        if lost:
            raise UsageError(
                f"{path}: {lost} of {tensor.numel()} values of {name} are NaN or infinite",
                remedy="take an earlier checkpoint, or train again with a smaller learning rate",
            )
