"""The forms in which CLIP's weights are had, each made from what its writers publish of names and shapes."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

State = dict[str, Tensor]
Writer = Callable[[Path, State], object]
TINY, TINY_QUICK = "tiny-16", "tiny-16-quickgelu"  # of conftest.py


def transformers_names(state: Mapping[str, Tensor]) -> State:
    """The same weights as Hugging Face's CLIPModel names and shapes them."""
    named: State = {}
    for name, tensor in state.items():
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        part = name.removeprefix("visual.")
        if part.startswith("transformer.resblocks."):
            _, _, index, *rest = part.split(".")
            place, leaf = f"{tower}.encoder.layers.{index}", ".".join(rest)
            if leaf.startswith("attn.in_proj_"):
                kind = leaf.removeprefix("attn.in_proj_")
                for which, piece in zip("qkv", tensor.chunk(3), strict=True):
                    named[f"{place}.self_attn.{which}_proj.{kind}"] = piece.clone()
                continue
            renamed = {
                "attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2",
                "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
            }  # fmt: skip
            module, _, kind = leaf.rpartition(".")
            named[f"{place}.{renamed[module]}.{kind}"] = tensor
        elif name in ("visual.proj", "text_projection"):
            named["visual_projection.weight" if name == "visual.proj" else "text_projection.weight"] = tensor.T.clone()
        elif name == "logit_scale":
            named[name] = tensor
        else:
            place = {
                ("vision_model", "class_embedding"): "embeddings.class_embedding",
                ("vision_model", "conv1.weight"): "embeddings.patch_embedding.weight",
                ("vision_model", "positional_embedding"): "embeddings.position_embedding.weight",
                ("vision_model", "ln_pre.weight"): "pre_layrnorm.weight",
                ("vision_model", "ln_pre.bias"): "pre_layrnorm.bias",
                ("vision_model", "ln_post.weight"): "post_layernorm.weight",
                ("vision_model", "ln_post.bias"): "post_layernorm.bias",
                ("text_model", "token_embedding.weight"): "embeddings.token_embedding.weight",
                ("text_model", "positional_embedding"): "embeddings.position_embedding.weight",
                ("text_model", "ln_final.weight"): "final_layer_norm.weight",
                ("text_model", "ln_final.bias"): "final_layer_norm.bias",
            }[tower, part]
            named[f"{tower}.{place}"] = tensor
    named["vision_model.embeddings.position_ids"] = torch.arange(197)[None]
    named["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return named


class Node(nn.Module):
    """A module of names alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def module_tree(state: Mapping[str, Tensor], buffers: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Modules whose `state_dict` has these names."""
    root = Node()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        node: nn.Module = root
        for part in path:
            if part not in dict(node.named_children()):
                node.add_module(part, Node())
            node = getattr(node, part)
        node.register_parameter(leaf, nn.Parameter(tensor.clone(), requires_grad=False))
    for name, tensor in (buffers or {}).items():
        root.register_buffer(name, tensor)
    return root


def save_torchscript(path: Path, module: nn.Module, how: str = "script") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; what was published in it stays
        scripted = torch.jit.script(module) if how == "script" else torch.jit.trace(module, torch.ones(1))
        scripted.save(str(path))


OPENAI_BUFFERS = {
    "input_resolution": torch.tensor(224),
    "context_length": torch.tensor(77),
    "vocab_size": torch.tensor(49408),
}


def save_openai_archive(path: Path, state: Mapping[str, Tensor], how: str = "trace") -> None:
    """As OpenAI publishes ViT-B-16.pt: a traced program in half precision with three buffers beside the weights."""
    save_torchscript(path, module_tree({n: t.half() for n, t in state.items()}, OPENAI_BUFFERS), how)


def save_safetensors(path: Path, state: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def halves(state: Mapping[str, Tensor]) -> State:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def others(state: Mapping[str, Tensor]) -> State:
    """Weights that must not be taken."""
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def training_checkpoint(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """open_clip's, with what other trainers add: their settings and best score."""
    first = next(iter(state.values()))
    return {
        "epoch": 32, "name": "run", "state_dict": prefixed("module.", state), "best": np.float64(0.7),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros_like(first)}}},
        "args": argparse.Namespace(lr=1e-3, model="ViT-B-16"),
    }  # fmt: skip


def two_of(outer: Callable[[State, State], Any]) -> Writer:
    return lambda path, state: torch.save(outer(others(state), state), path)


FORMS: dict[str, Writer] = {
    "state_dict.pt": lambda path, state: torch.save(state, path),
    "legacy.pth": lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=False),
    "epoch_32.pt": lambda path, state: torch.save(training_checkpoint(state), path),
    "model.pt": lambda path, state: torch.save({"model": state}, path),
    "compiled.pt": lambda path, state: torch.save({"model_state_dict": prefixed("module._orig_mod.", state)}, path),
    "lightning.ckpt": lambda path, state: torch.save(
        {"state_dict": {**prefixed("model.", state), "criterion.weight": torch.ones(2)}}, path
    ),
    "state_dict_ema.pt": two_of(lambda other, state: {"state_dict": other, "state_dict_ema": state}),
    "model_ema.pt": two_of(lambda other, state: {"model": other, "model_ema": prefixed("module.", state)}),
    "ema.pt": two_of(lambda other, state: {"ema": {"module": state}, "model": prefixed("module.", other)}),
    "averaged.pt": lambda path, state: torch.save({**prefixed("module.", state), "n_averaged": torch.tensor(9)}, path),
    "weights.safetensors": save_safetensors,
    "no-suffix": save_safetensors,
    "open_clip_model.safetensors": save_safetensors,
    "open_clip_pytorch_model.bin": lambda path, state: torch.save(state, path),
    "custom-text.safetensors": lambda path, state: save_safetensors(
        path, {n if n.startswith(("visual", "logit")) else f"text.{n}": t for n, t in state.items()}
    ),
    "model.safetensors": lambda path, state: save_safetensors(path, transformers_names(state)),
    "pytorch_model.bin": lambda path, state: torch.save(transformers_names(state), path),
    "hf-wrapped.safetensors": lambda path, state: save_safetensors(path, prefixed("clip.", transformers_names(state))),
    "hf-trained.pt": lambda path, state: torch.save(
        {"state_dict": prefixed("module.", transformers_names(state))}, path
    ),
    "scripted.pt": lambda path, state: save_torchscript(path, module_tree(state)),
    "traced.pt": lambda path, state: save_torchscript(path, module_tree(state), "trace"),
}
HALF_FORMS: dict[str, Writer] = {
    "ViT-B-16.pt": save_openai_archive,
    "archive.pt": lambda path, state: save_openai_archive(path, state, "script"),
    "half.safetensors": lambda path, state: save_safetensors(path, halves(state)),
    "hf-half.bin": lambda path, state: torch.save(halves(transformers_names(state)), path),
}
