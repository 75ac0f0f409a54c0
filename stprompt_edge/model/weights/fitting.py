"""Do these weights fit that model? If not, in what, and which model do they fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stprompt_edge.errors import UsageError
from stprompt_edge.model.weights.activation import Activation, activation_of_file
from stprompt_edge.model.weights.files import read_tensors
from stprompt_edge.model.weights.names import count_blocks, open_clip_names


@dataclass(frozen=True, kw_only=True)
class ClipWeights:
    """What a file has for a model."""

    state: dict[str, Tensor]  # float32, under open_clip's names, every one that the model has
    activation: Activation | None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a CLIP with a plain ViT; None for what the weights do not tell."""

    image_width: int | None
    image_layers: int | None
    patch: int | None
    image_size: int | None
    embedding_width: int | None
    text_width: int | None
    text_layers: int | None
    context_length: int | None
    vocabulary: int | None

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Architecture:
        """Of weights under open_clip's names."""

        def size(name: str, axis: int, rank: int = 2) -> int | None:
            return int(state[name].shape[axis]) if name in state and state[name].ndim == rank else None

        patch, tokens = size("visual.conv1.weight", 3, 4), size("visual.positional_embedding", 0)
        return cls(
            image_width=size("visual.conv1.weight", 0, 4),
            image_layers=count_blocks(state, "visual."),
            patch=patch,
            image_size=None if patch is None or tokens is None else round((tokens - 1) ** 0.5) * patch,
            embedding_width=size("visual.proj", 1),
            text_width=size("token_embedding.weight", 1),
            text_layers=count_blocks(state, ""),
            context_length=size("positional_embedding", 0),
            vocabulary=size("token_embedding.weight", 0),
        )

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Of a model configuration of open_clip."""
        image, text = config["vision_cfg"], config["text_cfg"]
        return cls(
            image_width=image["width"], image_layers=image["layers"], patch=image["patch_size"],
            image_size=image["image_size"], embedding_width=config["embed_dim"], text_width=text["width"],
            text_layers=text["layers"], context_length=text["context_length"], vocabulary=text["vocab_size"],
        )  # fmt: skip

    def differences(self, other: Architecture) -> list[str]:
        """What of `self` is otherwise in `other`, in words."""
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return [
            f"{name.replace('_', ' ')} {ours or 'unknown'} instead of {theirs}"
            for name, ours, theirs in pairs
            if ours != theirs
        ]


def read_weights(
    path: Path, name: str, model: Any, offered: Mapping[str, Mapping[str, Any]], seeded: Collection[str] = ()
) -> ClipWeights:
    """The weights of a file, checked against the model that they are for.

    Args:
        path: of the weights file.
        name: of the model.
        model: open_clip's, for the names and shapes that it wants.
        offered: open_clip's configurations of the models that could be used instead, by name.
        seeded: names that the file need not have: there the model keeps its own.

    Raises:
        UsageError: the file is no weights file, of another model or incomplete, or holds values that are not finite.
    """
    tensors, wanted = read_tensors(path), model.state_dict()
    tensors |= {key: wanted[key] for key in seeded if not any(name.endswith(key) for name in tensors)}
    named = open_clip_names(path, tensors)
    state = named.state
    if "logit_scale" in state and state["logit_scale"].numel() == 1:  # a number, or a vector of one
        state["logit_scale"] = state["logit_scale"].reshape(wanted["logit_scale"].shape)
    activation = activation_of_file(path, named)
    if activation is not None:
        offered = {other: cfg for other, cfg in offered.items() if bool(cfg.get("quick_gelu")) == activation.quick}
    _check_plain_vit(path, state)
    _check_architecture(path, name, state, wanted, offered)
    _check_names_and_shapes(path, name, state, wanted)
    floats = {key: _finite_float(path, key, tensor) for key, tensor in state.items()}
    return ClipWeights(state=floats, activation=activation)


def _check_plain_vit(path: Path, state: Mapping[str, Tensor]) -> None:
    if "visual.class_embedding" not in state:
        kind = "a ResNet" if any(name.startswith("visual.layer1.") for name in state) else "not a plain ViT"
        raise UsageError(
            f"{path} holds a CLIP whose image tower is {kind}", remedy="pass the weights of a ViT, such as ViT-B/16"
        )


def _check_architecture(
    path: Path,
    name: str,
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    offered: Mapping[str, Mapping[str, Any]],
) -> None:
    found = Architecture.of(state)
    differences = found.differences(Architecture.of(wanted))
    if not differences:
        return
    fitting = [other for other, config in offered.items() if not found.differences(Architecture.of_config(config))]
    remedy = f"pass --clip {' or '.join(fitting)}" if fitting else "pass the weights of a ViT with patch 16 at 224 px"
    raise UsageError(f"{path} holds another model than {name}: {', '.join(differences)}", remedy=remedy)


def _check_names_and_shapes(path: Path, name: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing, unknown = [key for key in wanted if key not in state], [key for key in state if key not in wanted]
    wrong = next((key for key in wanted if key in state and state[key].shape != wanted[key].shape), None)
    if missing:
        what = f"{path} lacks {len(missing)} of the {len(wanted)} weights of {name}, the first is {missing[0]}"
        raise UsageError(what, remedy="pass the file of the whole model; of a model in several files, join them first")
    if unknown:
        what = f"{path} has {len(unknown)} weights that {name} has not, the first is {unknown[0]}"
        raise UsageError(what, remedy="pass the weights of a CLIP with a plain ViT, and the matching --clip")
    if wrong:
        got, expected = list(state[wrong].shape), list(wanted[wrong].shape)
        what = f"{path}: {wrong} has shape {got}, {name} needs {expected}"
        raise UsageError(what, remedy="pass the matching --clip name, or another file")


def _finite_float(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.is_quantized or not tensor.is_floating_point():
        what = f"{path}: {name} is {str(tensor.dtype).removeprefix('torch.')}: the weights are quantized"
        raise UsageError(what, remedy="pass weights in float32, float16 or bfloat16")
    values = tensor.float()
    lost = int(values.numel() - torch.isfinite(values).sum())
    if lost:
        raise UsageError(
            f"{path}: {lost} of {values.numel()} values of {name} are NaN or infinite",
            remedy="pass another file: this one is damaged, or its training went wrong",
        )
    return values
