"""Public names come from `__init__.py`: `__all__` is complete, sorted, and every name in it exists."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "stprompt_edge"
PACKAGES = sorted(ROOT.rglob("__init__.py"))


def bound_names(tree: ast.Module) -> set[str]:
    """Public names that the file defines itself."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def reexported_names(tree: ast.Module) -> set[str]:
    """Public names that the file imports from this package and does not use itself."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stprompt_edge")
        for alias in node.names
    }
    return {name for name in imported - used if not name.startswith("_")}


def kind_and_name(name: str) -> tuple[bool, bool, str]:
    """Ruff's order: CONSTANTS, then Classes, then functions."""
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("path", PACKAGES, ids=[str(p.relative_to(ROOT).parent) for p in PACKAGES])
def test_all_is_complete_and_sorted(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = bound_names(tree) | reexported_names(tree)
    package = importlib.import_module(".".join(("stprompt_edge", *path.relative_to(ROOT).parent.parts)))
    exported = getattr(package, "__all__", [])
    assert public <= set(exported), "a public name is missing in __all__"
    assert list(exported) == sorted(set(exported), key=kind_and_name), "__all__ is not sorted"
    assert all(hasattr(package, name) for name in exported), "__all__ names what is not there"
