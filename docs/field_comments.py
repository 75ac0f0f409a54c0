"""The comment behind a field is its documentation: here the reference learns to read it."""

from __future__ import annotations

from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Lists the fields of a class in its docstring, each with the comment at the end of its line."""

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called by griffe for each class once its members are known."""
        fields = [field for field in cls.attributes.values() if field.is_public and is_plain_field(field)]
        if fields and cls.docstring is not None:
            rows = [f"    {field.name}: {comment_behind(field) or '–'}" for field in fields]
            cls.docstring.value = "\n".join([cls.docstring.value, "", "Attributes:", *rows])


def is_plain_field(field: griffe.Attribute) -> bool:
    """Neither a property, nor a class variable, nor one that says what it is by itself."""
    return "instance-attribute" in field.labels and field.annotation is not None and field.docstring is None


def comment_behind(field: griffe.Attribute) -> str:
    """What follows `  # ` on the last line of a field."""
    assert field.endlineno is not None
    line = field.lines_collection[field.filepath][field.endlineno - 1]
    return line.partition("  # ")[2].strip()
