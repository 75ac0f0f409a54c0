"""Training hyperparameters: the method's by default, one small TOML for what a data set does differently."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.listing import is_data
from stprompt_edge.training.methods import METHODS
from stprompt_edge.training.methods.base import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10, as on JetPack 6
    import tomli as tomllib


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    folder = resources.files("stprompt_edge.training") / "recipes"
    names = sorted(entry.name for entry in folder.iterdir() if is_data(entry.name))
    return tuple(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_recipe(name_or_path: str, method: str | None = None) -> Recipe:
    """A shipped recipe by name, or a TOML file.

    Keys that one method alone should have stand in a table of its name, as `[mil-ranking]`.

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
    tables = {name: common.pop(name) for name in METHODS if isinstance(common.get(name), dict)}
    for name, table in tables.items():
        _checked(name_or_path, {**common, "method": name, **table})
    chosen = method or common.get("method", Recipe.model_fields["method"].default)
    defaults = METHODS[chosen].defaults if chosen in METHODS else {}
    return _checked(name_or_path, {**defaults, **common, **tables.get(chosen, {}), "method": chosen})


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
