"""Training hyperparameters: the paper's by default, one small TOML for what a data set does differently."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.listing import is_data

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10, as on JetPack 6
    import tomli as tomllib

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """All that training is told besides its data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["stprompt", "mil-ranking"] = "stprompt"
    stride: Count = 16  # camera frames per sampled frame
    windows: Count = 12  # K of SA²
    sigma: Positive = 1.0  # of the adapter's kernel, in sampled frames
    tau: Positive = 0.07
    alpha: Positive = 0.9  # weight of the alignment loss
    beta: NotNegative = 2.0  # weight of the contrastive loss
    segments: Count = 32  # of a video, mil-ranking; Sultani et al.
    smoothness: NotNegative = 8e-5  # weight of that loss, mil-ranking; Sultani et al.
    sparsity: NotNegative = 8e-5  # as smoothness
    learning_rate: Positive = 1e-4  # AdamW
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = 64  # half normal, half abnormal
    max_length: Count = 256  # sampled frames of a video; longer ones are sampled uniformly
    epochs: Count = 10


# What a method needs where the recipe does not say: with 1e-4 and the paper's batches, 40 steps change nothing here
METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "stprompt": {},
    "mil-ranking": {"learning_rate": 1e-3, "batch": 16, "epochs": 60},
}


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    folder = resources.files("stprompt_edge.training") / "recipes"
    names = sorted(entry.name for entry in folder.iterdir() if is_data(entry.name))
    return tuple(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_recipe(name_or_path: str, method: str | None = None) -> Recipe:
    """A shipped recipe by name, or a TOML file.

    Keys that one method alone should have stand in a table of its name: `[stprompt]` or `[mil-ranking]`.

    Args:
        name_or_path: of the recipe.
        method: instead of the recipe's own.

    Raises:
        UsageError: unknown name, malformed TOML, an unknown key (with the nearest one) or a value out of range, also
            in the table of the other method.
    """
    if name_or_path in shipped_recipes():
        text = (resources.files("stprompt_edge.training") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    elif Path(name_or_path).is_file():
        text = _read(Path(name_or_path))
    else:
        raise UsageError(f"unknown recipe '{name_or_path}'", remedy=nearest(name_or_path, shipped_recipes()))
    try:
        common = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"recipe {name_or_path} is not valid TOML: {exc}", remedy="correct that place") from exc
    tables = {name: common.pop(name) for name in METHOD_DEFAULTS if isinstance(common.get(name), dict)}
    for name, table in tables.items():
        _checked(name_or_path, {**common, "method": name, **table})
    chosen = method or common.get("method", "stprompt")
    return _checked(
        name_or_path, {**METHOD_DEFAULTS.get(chosen, {}), **common, **tables.get(chosen, {}), "method": chosen}
    )


def _checked(name: str, content: dict[str, Any]) -> Recipe:
    try:
        return Recipe(**content)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        what = f"unknown key '{key}'" if unknown else f"{key}: {first['msg']}"
        remedy = nearest(key, Recipe.model_fields) if unknown else "correct that value"
        raise UsageError(f"recipe {name}: {what}", remedy=remedy) from exc


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows editors put a BOM in front
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read recipe {path}: {exc}", remedy="give a readable UTF-8 file") from exc
