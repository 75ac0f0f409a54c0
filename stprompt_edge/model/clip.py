"""Loading CLIP through open_clip: a pretrained tag, a weights file, or seeded random weights."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from stprompt_edge.assets import DEMO_MODEL, DEMO_WEIGHTS
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.geometry import Geometry
from stprompt_edge.imports import import_failure
from stprompt_edge.model.encoder import check_plain_vit
from stprompt_edge.model.weights import Activation, check_activation, fetch_weights, quiet_logger, read_weights
from stprompt_edge.preprocess import CLIP_MEAN_RGB, CLIP_STD_RGB, Preprocessing

if TYPE_CHECKING:  # imports pydantic, which the model does without
    from stprompt_edge.bundle import ClipSection

NO_WEIGHTS = "none"  # --pretrained none
DEMO_TAG = "demo"  # --pretrained demo: weights that the repository carries
RANDOM_IN_DEMO = "token_embedding.weight"  # seeded random vectors tell words apart; two thirds of all weights


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A frozen CLIP model with its tokenizer and image statistics."""

    name: str
    pretrained: str
    seed: int
    model: Any  # an nn.Module, open_clip's, in eval mode, float32, on the CPU, no gradients
    tokenize: Callable[[list[str]], Tensor]  # N texts -> [N, context] int64
    preprocessing: Preprocessing

    @property
    def patch_size(self) -> int:
        """Pixels on one side of a patch."""
        return int(self.model.visual.patch_size[0])

    @property
    def tau(self) -> float:
        """The softmax temperature CLIP was trained with: 1 / exp(logit_scale)."""
        return float(torch.exp(-self.model.logit_scale).reshape(-1)[0])

    @cached_property
    def weights_sha256(self) -> str:
        """What the weights are, whatever their file is called: sha256 over name, shape and float32 values of each.

        The demo model's random vectors do not count: what seed 0 gives differs in the last bit between kinds of CPU.
        A second for ViT-B/16.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if (self.name, name) != (DEMO_MODEL, RANDOM_IN_DEMO):
                digest.update(f"{name} {list(tensor.shape)}\n".encode())
                digest.update(tensor.detach().float().cpu().reshape(-1).numpy().astype("<f4", copy=False))
        return digest.hexdigest()

    @property
    def section(self) -> ClipSection:
        """What checkpoints and bundles say of it."""
        from stprompt_edge.bundle import ClipSection

        return ClipSection(
            model=self.name,
            pretrained=self.pretrained,
            seed=self.seed,
            embedding_width=int(self.model.visual.proj.shape[1]),
            weights_sha256=self.weights_sha256,
        )


def load_clip(name: str, pretrained: str, seed: int = 0) -> Clip:
    """Build a CLIP model and load its weights.

    Args:
        name: open_clip's model name, for example ViT-B-16-quickgelu; ours is stprompt-demo-16.
        pretrained: an open_clip tag such as `openai` (fetched and cached by open_clip), the path of a weights
            file of any common kind (see `weights`), `demo` for those of stprompt-demo-16 in a clone of the
            repository, or `none` for random weights that depend on `seed` only.
        seed: of the random weights.

    Warns:
        StpromptEdgeWarning: the weights were trained with another activation than the model computes.

    Raises:
        UsageError: unknown model or tag, or a file that does not fit the model.
        EnvironmentFailure: open_clip is not installed, or the weights cannot be fetched.
    """
    open_clip = _import_open_clip()
    if name not in open_clip.list_models():
        raise UsageError(f"unknown CLIP model '{name}'", remedy=nearest(name, _plain_vits(open_clip)))
    packaged = (name, pretrained) == (DEMO_MODEL, DEMO_TAG)
    if packaged and not DEMO_WEIGHTS.is_file():
        what = f"the weights of {name} are not in an installed package, only in a clone of the repository"
        remedy = f"clone it, and pass the file: --pretrained CLONE/stprompt_edge/assets/demo/{DEMO_WEIGHTS.name}"
        raise UsageError(what, remedy=remedy)
    tag = _find_tag(open_clip, name, pretrained) if not packaged and pretrained != NO_WEIGHTS else None
    file = fetch_weights(open_clip, name, pretrained) if tag else DEMO_WEIGHTS if packaged else Path(pretrained)
    statistics = {key: tag[key] for key in ("mean", "std") if key in tag} if tag else None
    # open_clip warns through the root logger when weights are random, which here is on purpose
    with torch.random.fork_rng(devices=[]), quiet_logger(None, logging.ERROR):
        torch.manual_seed(0 if name == DEMO_MODEL and pretrained != NO_WEIGHTS else seed)
        model = open_clip.create_model(name, load_weights=False, force_preprocess_cfg=statistics)
    if pretrained != NO_WEIGHTS:
        _load_weights(open_clip, name, model, pretrained, file, tag)
    model.eval().requires_grad_(False)
    image_size = model.visual.image_size  # a number or a pair, as the tower likes
    mean = getattr(model.visual, "image_mean", None) or CLIP_MEAN_RGB
    std = getattr(model.visual, "image_std", None) or CLIP_STD_RGB
    return Clip(
        name=name,
        pretrained=pretrained if packaged or tag or pretrained == NO_WEIGHTS else Path(pretrained).name,
        seed=seed,
        model=model,
        tokenize=open_clip.get_tokenizer(name),
        preprocessing=Preprocessing(
            size=image_size if isinstance(image_size, int) else image_size[0], mean_rgb=tuple(mean), std_rgb=tuple(std)
        ),
    )


def _find_tag(open_clip: Any, name: str, pretrained: str) -> dict[str, Any] | None:
    """What open_clip knows of a tag, or None for a file. Raises UsageError if it is neither."""
    tag: dict[str, Any] = open_clip.get_pretrained_cfg(name, pretrained)
    if tag or Path(pretrained).is_file():
        return tag or None
    what = f"no pretrained weights '{pretrained}' for {name}: "
    others = [other for other in _plain_vits(open_clip) if open_clip.get_pretrained_cfg(other, pretrained)]
    if pretrained and Path(pretrained).is_dir():
        raise UsageError(f"{what}it is a folder", remedy="give the weights file in it: --pretrained FOLDER/FILE")
    if others:
        raise UsageError(f"{what}it is a tag of {' and '.join(others)}", remedy=f"pass --clip {others[0]}")
    tags = [*open_clip.list_pretrained_tags_by_model(name), *([DEMO_TAG] if name == DEMO_MODEL else [])]
    raise UsageError(
        f"{what}neither a file nor a tag of open_clip",
        remedy=f"give a weights file, '{NO_WEIGHTS}', or a tag; {nearest(pretrained, tags)}",
    )


def _load_weights(
    open_clip: Any, name: str, model: Any, pretrained: str, file: Path, tag: dict[str, Any] | None
) -> None:
    check_plain_vit(model.visual, Geometry())
    offered = {other: open_clip.get_model_config(other) for other in _plain_vits(open_clip)}
    weights = read_weights(file, name, model, offered, seeded=(RANDOM_IN_DEMO,) if name == DEMO_MODEL else ())
    model.load_state_dict(weights.state)
    activation = weights.activation if tag is None else Activation(bool(tag.get("quick_gelu")), "says open_clip")
    base = name.removesuffix("-quickgelu")
    pair = {other: open_clip.get_model_config(other) for other in (base, f"{base}-quickgelu")}
    check_activation(name, f"'{pretrained}'" if tag else file.name, activation, pair)


@torch.inference_mode()
def embed_texts(clip: Clip, texts: Iterable[str]) -> Tensor:
    """Unit-length text embeddings: N texts -> [N, D] float32."""
    embeddings = clip.model.encode_text(clip.tokenize(list(texts)))
    return torch.nn.functional.normalize(embeddings.float(), dim=-1)


def _import_open_clip() -> Any:
    try:
        import open_clip
    except ImportError as exc:
        raise import_failure("open_clip", exc, remedy='pip install "stprompt-edge[export]"') from exc
    configs = resources.files("stprompt_edge.model") / "configs"
    open_clip.add_model_config(Path(str(configs)))
    return open_clip


def _plain_vits(open_clip: Any) -> list[str]:
    plain = re.compile(r"(ViT-[A-Z]|stprompt-demo)-16(-quickgelu)?")  # patch 16 at 224 px, pooled by a class token
    return [name for name in open_clip.list_models() if plain.fullmatch(name)]


def packed_weights(clip: Clip) -> bytes:
    """A stprompt-demo-16 as the repository carries it: float16, without what seed 0 makes anew; safetensors."""
    state = {name: t.half().contiguous() for name, t in clip.model.state_dict().items() if name != RANDOM_IN_DEMO}
    return save(state)
