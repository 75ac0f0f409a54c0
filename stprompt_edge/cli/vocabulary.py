"""`vocabulary show` and `vocabulary check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stprompt_edge.errors import single_line


def show_vocabulary(
    name: Annotated[
        str | None, typer.Argument(help="Shipped name or TOML file; none to list the shipped ones.")
    ] = None,
) -> None:
    """Print a vocabulary as a file to save, edit and use with --vocabulary."""
    from stprompt_edge.vocabulary import EDITING, load_vocabulary, shipped_vocabularies, vocabulary_to_toml

    if name is None:
        print("\n".join(shipped_vocabularies()))
    else:
        print(vocabulary_to_toml(load_vocabulary(name), EDITING), end="")


def check_vocabulary(file: Annotated[Path, typer.Argument(help="TOML file to check.")]) -> None:
    """Say that a vocabulary file is good, or what its first problem is and where."""
    from stprompt_edge.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(file)
    written = sum(len(entry.phrases) for entry in vocabulary.classes)
    counts = f"{len(vocabulary.classes)} classes, {written} phrases, {len(vocabulary.normal_phrases)} normal phrases"
    print(f"ok: {single_line(str(file))}: vocabulary '{vocabulary.name}', {counts}")
