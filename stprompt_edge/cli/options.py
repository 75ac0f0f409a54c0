"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[Path, typer.Option("--bundle", "-b", help="Folder that `export` wrote.")]
BackendOption = Annotated[str, typer.Option(help="auto, tensorrt, onnx, onnx-cuda or onnx-cpu.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
FormatOption = Annotated[str, typer.Option("--format", help="Of the data set; auto tells by its files.")]
FpsOption = Annotated[float | None, typer.Option(help="Pictures per second of an image folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]
