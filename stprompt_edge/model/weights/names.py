"""Which of a file's tensors are CLIP's, and their names in open_clip, whoever wrote them.

Known are OpenAI's and open_clip's own names and those of Hugging Face's CLIPModel, below any prefix: `module.` of
parallel training, `_orig_mod.` of torch.compile, `state_dict.` and `model.` of training checkpoints. Where a checkpoint
has the weights twice, the average over training (EMA) is taken, as timm does: it is what such a training publishes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stprompt_edge.errors import UsageError

BUFFERS = ("input_resolution", "context_length", "vocab_size")  # OpenAI's archive has them beside its weights
_NO_WEIGHTS = re.compile(r"(.*\.)?(position_ids|attn_mask|n_averaged|" + "|".join(BUFFERS) + ")")
_EMA = re.compile(r"(.*_)?ema(_.*)?")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Whose names, told by one weight of each tower."""

    image: str
    text: tuple[str, ...]


OPEN_CLIP = Layout(image="visual.conv1.weight", text=("token_embedding.weight", "text.token_embedding.weight"))
TRANSFORMERS = Layout(
    image="vision_model.embeddings.patch_embedding.weight", text=("text_model.embeddings.token_embedding.weight",)
)
_TRANSFORMERS_BLOCK = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_TRANSFORMERS_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # its spelling
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_BLOCK = re.compile(r"(?P<tower>vision|text)_model\.encoder\.layers\.(?P<index>\d+)\.(?P<part>.+)\.(?P<kind>\w+)")


@dataclass(frozen=True, kw_only=True)
class NamedWeights:
    """A whole CLIP under open_clip's names."""

    state: dict[str, Tensor]
    layout: Layout
    openai_archive: bool  # with the three buffers that only OpenAI's own archives have


def open_clip_names(path: Path, tensors: dict[str, Tensor]) -> NamedWeights:
    """The weights of both towers under open_clip's names.

    Args:
        path: for messages.
        tensors: as `read_tensors` gives them.

    Raises:
        UsageError: there are none, of one tower alone, or of several models.
    """
    prefixes = {
        name.removesuffix(layout.image): layout
        for layout in (OPEN_CLIP, TRANSFORMERS)
        for name in tensors
        if _ends_with(name, layout.image)
    }
    if not prefixes:
        raise _no_clip(path, tensors)
    averages = [prefix for prefix in prefixes if any(map(_EMA.fullmatch, prefix.split(".")))]
    chosen = averages if averages else list(prefixes)
    if len(chosen) > 1:
        places = ", ".join(sorted(prefix.rstrip(".") or "at its top" for prefix in chosen))
        raise UsageError(
            f"{path} holds several models: {places}",
            remedy="save one of them alone: torch.save(model.state_dict(), PATH)",
        )
    prefix, layout = chosen[0], prefixes[chosen[0]]
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not any(name in state for name in layout.text):
        raise _one_tower(path, "visual", "text")
    openai_archive = all(name in state for name in BUFFERS)
    state = {name: tensor for name, tensor in state.items() if not _NO_WEIGHTS.fullmatch(name)}
    named = _from_transformers(path, state) if layout is TRANSFORMERS else _from_custom_text(state)
    return NamedWeights(state=named, layout=layout, openai_archive=openai_archive)


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _one_tower(path: Path, there: str, lacking: str) -> UsageError:
    return UsageError(
        f"{path} holds the {there} tower only, not the {lacking} tower of CLIP",
        remedy="pass the file of the whole model: phrases are embedded with the one, frames with the other",
    )


def _no_clip(path: Path, tensors: dict[str, Tensor]) -> UsageError:
    """Why these are not the weights of a whole CLIP with a plain ViT."""

    def have(*endings: str) -> bool:
        return any(_ends_with(name, ending) for name in tensors for ending in endings)

    if not tensors:
        return UsageError(f"{path} holds no weights at all", remedy="pass another file")
    if have(
        "visual.trunk.patch_embed.proj.weight", "visual.patch_embed.proj.weight", "visual.trunk.stem.0.conv.weight"
    ):
        what = "another image tower than a plain ViT (of timm, as SigLIP, EVA and MobileCLIP)"
        return UsageError(f"{path} holds {what}", remedy="pass the weights of a ViT-B/16 CLIP, or another such ViT")
    if have(*OPEN_CLIP.text, *TRANSFORMERS.text):
        return _one_tower(path, "text", "visual")
    if (have("conv1.weight") and have("class_embedding")) or have("patch_embed.proj.weight"):
        return _one_tower(path, "visual", "text")
    first = ", ".join(sorted(tensors)[:3])
    return UsageError(
        f"{path} holds no CLIP: its {len(tensors)} tensors begin with {first}",
        remedy="pass the weights of a CLIP model",
    )


def _from_custom_text(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip has the text tower at the top or, in some of its models, below `text.`."""
    return {name.removeprefix("text."): tensor for name, tensor in state.items()}


def _from_transformers(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        block = _BLOCK.fullmatch(name)
        if block is None:
            named |= _outside_blocks(name, tensor)
            continue
        tower = "visual.transformer" if block["tower"] == "vision" else "transformer"
        place = f"{tower}.resblocks.{block['index']}"
        if block["part"] in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            attention.setdefault(f"{place}.attn.in_proj_{block['kind']}", {})[block["part"][10]] = tensor
        else:
            named[f"{place}.{_TRANSFORMERS_BLOCK.get(block['part'], block['part'])}.{block['kind']}"] = tensor
    for name, parts in attention.items():
        if set(parts) != set("qkv"):
            what = f"{path} is incomplete: {name} lacks {', '.join(sorted(set('qkv') - set(parts)))}"
            raise UsageError(what, remedy="pass the file of the whole model")
        named[name] = torch.cat([parts[part] for part in "qkv"])
    return named


def _outside_blocks(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name in _PROJECTIONS and tensor.ndim == 2:
        return {_PROJECTIONS[name]: tensor.t().contiguous()}
    return {_TRANSFORMERS_NAMES.get(name, name): tensor}


def count_blocks(names: Iterable[str], tower: str) -> int:
    """Transformer blocks below `tower` (`visual.` or the text tower's empty prefix)."""
    found = (re.match(re.escape(f"{tower}transformer.resblocks.") + r"(\d+)\.", name) for name in names)
    return len({match[1] for match in found if match})
