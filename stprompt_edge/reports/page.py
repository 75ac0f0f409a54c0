"""Pages from templates: every value escaped, none forgotten, and all in one file that needs nothing else."""

from __future__ import annotations

import base64
import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stprompt_edge.reports.theme import DARK, LIGHT


def render(template: str, **values: Any) -> str:
    """A page.

    Args:
        template: its path inside the package; it extends `reports/base.html`.
        values: what the template names; each is text to be shown, whatever is in it.

    Raises:
        jinja2.UndefinedError: the template names what is not among the values.
    """
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stprompt_edge", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    environment.globals.update(LIGHT=LIGHT, DARK=DARK)
    return environment


def _inline(content: bytes, kind: str) -> str:
    """An image's address that holds the image."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
