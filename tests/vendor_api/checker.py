"""Does a module use a library as the library's own description allows? Told from the syntax tree, without running it.

What is followed: names and attributes that stand for the library's module (`trt`, `self._cuda`); variables, arguments
and attributes that are annotated with one of its classes (`x: trt.Builder`) or assigned from a call whose return type
is known. For those, each attribute must exist, each enum member too, and each call must fit one of its overloads in
number and names of arguments. A class that inherits from the library's may override only methods that are there, with
as many arguments.

What cannot be followed is no excuse: where the library has a method of the same name (with an underscore in it, and not
one of our own), an object of unknown type is a fault too, and wants an annotation.

There is no way to excuse a version: nothing that we use differs between those that we support.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

Description = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """What an expression is: the module, a class of it, an object of a class, or something that can be called."""

    what: str  # "module", "class", "object", "call"
    name: str = ""  # of the class, or for messages
    calls: tuple[Any, ...] | None = None


MODULE = Kind("module")


def faults(source: str, library: Description, aliases: Collection[str]) -> list[str]:
    """Every use that the description does not allow, as `line: what`.

    Args:
        source: Python.
        library: from `description`.
        aliases: names, and last parts of attributes, that stand for the library's module.
    """
    tree = ast.parse(source)
    checker = _Checker(library, frozenset(aliases), _own_names(tree))
    checker.learn_attributes(tree)
    checker.block(tree.body, {})
    return checker.found


def uses(source: str, aliases: Collection[str]) -> bool:
    """Does a module touch the library at all?"""
    return any(f"{alias}." in source for alias in aliases) and any(
        isinstance(node, ast.Attribute) and _last_name(node.value) in aliases for node in ast.walk(ast.parse(source))
    )


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        return ""  # `torch.cuda` is PyTorch's own
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _own_names(tree: ast.Module) -> set[str]:
    """Functions and methods that the module defines itself."""
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@dataclass
class _Checker:
    library: Description
    aliases: frozenset[str]
    own: set[str]
    found: list[str] = field(default_factory=list)
    attributes: dict[str, Kind] = field(default_factory=dict)  # of our own objects, by name
    returning: dict[str, Kind] = field(default_factory=dict)  # our own functions that give an object of the library

    def __post_init__(self) -> None:
        classes = self.library["classes"]
        self.methods = {name for members in classes.values() for name, entry in members.items() if entry["calls"]}

    def fault(self, node: ast.AST, what: str) -> None:
        text = f"{getattr(node, 'lineno', 0)}: {what}"
        if text not in self.found:
            self.found.append(text)

    # -- what things are

    def annotated(self, annotation: ast.expr | None) -> Kind | None:
        """Kind of `trt.X`, `trt.X | None` and the same as a string."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            return self.annotated(annotation.left) or self.annotated(annotation.right)
        if not (isinstance(annotation, ast.Attribute) and _last_name(annotation.value) in self.aliases):
            return None
        if annotation.attr not in self.library["classes"]:
            self.fault(annotation, f"there is no class {annotation.attr}")
            return None
        return Kind("object", annotation.attr)

    def learn_attributes(self, tree: ast.Module) -> None:
        """Annotated attributes of our own classes, and what our own functions return."""
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
                self._learn(node.target.attr, self.annotated(node.annotation))
            elif isinstance(node, ast.FunctionDef):
                returned = self.annotated(node.returns)
                if returned:
                    self.returning[node.name] = Kind("call", node.name, ({"names": None, "returns": returned.name},))
            elif isinstance(node, ast.ClassDef):
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        self._learn(line.target.id, self.annotated(line.annotation))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                self._learn_assigned(tree, node)

    def _learn_assigned(self, tree: ast.Module, assigned: ast.Assign) -> None:
        """`self._plan = plan` in a method whose `plan` is annotated."""
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            if assigned not in ast.walk(function):
                continue
            annotations = {a.arg: a.annotation for a in (*function.args.args, *function.args.kwonlyargs)}
            for target in assigned.targets:
                if isinstance(target, ast.Attribute) and isinstance(assigned.value, ast.Name):
                    self._learn(target.attr, self.annotated(annotations.get(assigned.value.id)))

    def _learn(self, name: str, kind: Kind | None) -> None:
        if kind:
            self.attributes[name] = kind

    # -- statements

    def block(self, body: list[ast.stmt], scope: dict[str, Kind]) -> None:
        for statement in body:
            self.statement(statement, scope)

    def statement(self, node: ast.stmt, scope: dict[str, Kind]) -> None:
        if isinstance(node, ast.FunctionDef):
            self.function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.subclass(node, scope)
            self.block(node.body, dict(scope))
        elif isinstance(node, ast.AnnAssign):
            known = self.annotated(node.annotation)
            value = self.expression(node.value, scope) if node.value else None
            self.assign(node.target, known or value, scope)
        elif isinstance(node, ast.Assign):
            value = self.expression(node.value, scope)
            for target in node.targets:
                self.assign(target, value, scope)
        else:
            for child in ast.iter_child_nodes(node):
                self.child(child, scope)

    def child(self, node: ast.AST, scope: dict[str, Kind]) -> None:
        if isinstance(node, ast.stmt):
            self.statement(node, scope)
        elif isinstance(node, ast.expr):
            self.expression(node, scope)
        else:  # with items, handlers, match cases
            for grandchild in ast.iter_child_nodes(node):
                self.child(grandchild, scope)

    def function(self, node: ast.FunctionDef, scope: dict[str, Kind]) -> None:
        inner = dict(scope)
        for argument in (*node.args.args, *node.args.kwonlyargs):
            inner.pop(argument.arg, None)
            kind = self.annotated(argument.annotation)
            if kind:
                inner[argument.arg] = kind
        self.block(node.body, inner)

    def subclass(self, node: ast.ClassDef, scope: dict[str, Kind]) -> None:
        for base in node.bases:
            kind = self.expression(base, scope)
            if not kind or kind.what != "class":
                continue
            for method in (line for line in node.body if isinstance(line, ast.FunctionDef)):
                if not method.name.startswith("_"):
                    self.override(method, kind.name)

    def override(self, method: ast.FunctionDef, base: str) -> None:
        entry = self.library["classes"][base].get(method.name)
        if entry is None:
            self.fault(method, f"{base} has no method {method.name} to override")
            return
        names = [argument.arg for argument in method.args.args][1:]
        if entry["calls"] and all(names != call["names"] for call in entry["calls"]):
            self.fault(method, f"{base}.{method.name} takes {entry['calls'][0]['names']}, here {names}")

    def assign(self, target: ast.expr, kind: Kind | None, scope: dict[str, Kind]) -> None:
        if isinstance(target, ast.Name):
            scope.pop(target.id, None)
            if kind:
                scope[target.id] = kind
        elif isinstance(target, ast.Attribute):
            self.attribute(target, scope)  # `config.progress_monitor = ...` must exist
            if kind and _last_name(target.value) == "self":
                self.attributes[target.attr] = kind

    # -- expressions

    def expression(self, node: ast.expr, scope: dict[str, Kind]) -> Kind | None:
        if isinstance(node, ast.Name):
            return MODULE if node.id in self.aliases else scope.get(node.id) or self.returning.get(node.id)
        if isinstance(node, ast.Attribute):
            return self.attribute(node, scope)
        if isinstance(node, ast.Call):
            return self.call(node, scope)
        inner = dict(scope)
        for child in _children(node):
            self.child(child, inner)
        return None

    def attribute(self, node: ast.Attribute, scope: dict[str, Kind]) -> Kind | None:
        owner = self.expression(node.value, scope)
        if owner is None or owner.what == "call":
            return self._own_attribute(node, owner)
        if owner.what == "module":
            return self._module_attribute(node)
        return self._class_attribute(node, owner)

    def _own_attribute(self, node: ast.Attribute, owner: Kind | None) -> Kind | None:
        if node.attr in self.aliases:
            return MODULE
        known = self.attributes.get(node.attr) or self.returning.get(node.attr)
        if known:
            return known
        if node.attr in self.methods and "_" in node.attr.strip("_") and node.attr not in self.own:
            self.fault(node, f"{ast.unparse(node)}: annotate {ast.unparse(node.value)} with the class that it is")
        return None

    def _module_attribute(self, node: ast.Attribute) -> Kind | None:
        if node.attr in self.library["classes"]:
            return Kind("class", node.attr)
        if node.attr.startswith("__"):
            return None
        if node.attr not in self.library["values"]:
            self.fault(node, f"the module has no {node.attr}")
            return None
        calls = self.library["values"][node.attr]["calls"]
        return Kind("call", node.attr, tuple(calls) if calls else None)

    def _class_attribute(self, node: ast.Attribute, owner: Kind) -> Kind | None:
        members = self.library["classes"][owner.name]
        if node.attr not in members:
            if not node.attr.startswith("__") and not (node.attr == "name" and owner.what == "object"):
                self.fault(node, f"{owner.name} has no {node.attr}")
            return None
        calls = members[node.attr]["calls"]
        return Kind("call", f"{owner.name}.{node.attr}", tuple(calls) if calls else None)

    def call(self, node: ast.Call, scope: dict[str, Kind]) -> Kind | None:
        target = self.expression(node.func, scope)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.expression(argument, scope)
        if target is None or target.what not in ("call", "class"):
            return None
        calls = target.calls
        if target.what == "class":
            constructor = self.library["classes"][target.name].get("__init__", {"calls": None})
            calls = tuple(constructor["calls"]) if constructor["calls"] else None
        fitting = [call for call in calls or () if _fits(node, call)]
        if calls and not fitting:
            wanted = " or ".join(f"({', '.join(call['names'])})" for call in calls)
            self.fault(node, f"{ast.unparse(node)}: {target.name} takes {wanted}")
        if target.what == "class":
            return Kind("object", target.name)
        returned = next((call["returns"] for call in fitting), None)
        return Kind("object", returned) if returned in self.library["classes"] else None


def _fits(node: ast.Call, call: Any) -> bool:
    if call["names"] is None or any(isinstance(argument, ast.Starred) for argument in node.args):
        return True
    positional = [argument for argument in node.args if _last_name(argument) != "self"]
    keywords = [keyword.arg for keyword in node.keywords]
    if None in keywords:
        return True
    given = [*call["names"][: len(positional)], *keywords]
    unknown = len(positional) > len(call["names"]) or any(name not in call["names"] for name in keywords)
    return not unknown and len(set(given)) == len(given) and set(call["names"][: call["required"]]) <= set(given)


def _children(node: ast.expr) -> Iterator[ast.AST]:
    yield from ast.iter_child_nodes(node)
