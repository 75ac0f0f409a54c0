"""Which activation weights were trained with. Shapes do not tell, and the wrong one gives embeddings that look fine.

OpenAI's weights, and those of Meta (MetaCLIP) and Apple (DFN), are of QuickGELU; LAION's, DataComp's and nearly all
that open_clip trains are of GELU. What says so, the surest first: the tag, the configuration beside the file, the name
of the file or of its hub repository, and how OpenAI stores weights.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stprompt_edge.errors import StpromptEdgeWarning
from stprompt_edge.model.weights.names import TRANSFORMERS, NamedWeights

_QUICK_NAME = re.compile("quickgelu|quick_gelu|openai|metaclip|dfn", flags=re.IGNORECASE)
_PLAIN_NAME = re.compile("laion|datacomp|commonpool", flags=re.IGNORECASE)


@dataclass(frozen=True)
class Activation:
    """What is known of the activation that weights were trained with."""

    quick: bool  # QuickGELU, else GELU
    told_by: str


def check_activation(name: str, weights: str, activation: Activation | None, configs: Mapping[str, Any]) -> None:
    """Warn where the weights' activation is known and is not the model's.

    Args:
        name: of the model.
        weights: what to call them.
        activation: None if nothing tells.
        configs: open_clip's of this model and of the one with the other activation, None if there is none.
    """
    if activation is None or activation.quick == bool(configs[name].get("quick_gelu", False)):
        return
    other = f"{name}-quickgelu" if activation.quick else name.removesuffix("-quickgelu")
    needed, computed = ("QuickGELU", "GELU") if activation.quick else ("GELU", "QuickGELU")
    remedy = f"pass --clip {other}" if other != name and configs.get(other) else f"use a model with {needed}"
    warnings.warn(
        f"{weights} was trained with {needed} ({activation.told_by}), {name} computes {computed}: "
        f"its embeddings will be wrong; {remedy}",
        StpromptEdgeWarning,
        stacklevel=2,
    )


def activation_of_file(path: Path, named: NamedWeights) -> Activation | None:
    """The activation of a file's weights, as they are stored; None if nothing tells."""
    return _by_config(path, named) or _by_name(path) or _by_storage(named)


def _by_config(path: Path, named: NamedWeights) -> Activation | None:
    beside = path.parent / ("config.json" if named.layout is TRANSFORMERS else "open_clip_config.json")
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        if named.layout is not TRANSFORMERS:
            return Activation(bool(content["model_cfg"].get("quick_gelu", False)), beside.name)
        quick = content.get("vision_config", {}).get("hidden_act", "quick_gelu") == "quick_gelu"  # CLIPConfig's default
        return Activation(quick, beside.name) if content.get("model_type") == "clip" else None
    except (OSError, ValueError, LookupError, AttributeError, TypeError):  # there is none, or it is of something else
        return None


def _by_name(path: Path) -> Activation | None:
    for name in (path.name, *(part for part in path.parts if part.startswith("models--"))):  # of the hub's cache
        for quick, pattern in ((True, _QUICK_NAME), (False, _PLAIN_NAME)):
            if pattern.search(name):
                return Activation(quick, "by its name")
    return None


def _by_storage(named: NamedWeights) -> Activation | None:
    """OpenAI's archives have buffers of their own; a `state_dict` of its program leaves embeddings in float32."""
    if named.openai_archive:
        return Activation(True, "it is OpenAI's archive")
    types = named.state["visual.conv1.weight"].dtype, named.state["token_embedding.weight"].dtype
    return Activation(True, "it is stored as OpenAI's") if types == (torch.float16, torch.float32) else None
