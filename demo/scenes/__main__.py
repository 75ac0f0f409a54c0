"""Renders CCTV scenes with exact frame labels and boxes: `python -m demo.scenes --out DIR`, in a clone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from demo.scenes.dataset import render_dataset
from stprompt_edge.cli.exit_codes import run_to_exit
from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.progress import one_line

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def scenes(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same videos.")] = 0,
    train_videos: Annotated[int, typer.Option(min=1, help="Training videos.")] = 60,
    test_videos: Annotated[int, typer.Option(min=1, help="Test videos, of other cameras.")] = 40,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second.")] = 12,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Render CCTV scenes with exact frame labels and boxes."""
    with live_steps() as progress:
        videos = render_dataset(
            out, seed, train_videos, test_videos, fps=fps, workers=workers,
            progress=lambda done, total, name: progress(name, done / total),
        )  # fmt: skip
    console.print(one_line(f"wrote {len(videos)} videos to {out}"))


if __name__ == "__main__":
    run_to_exit(app, sys.argv[1:])
