"""`prompts`: a vocabulary whose phrases a language model writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.progress import one_line


def prompts(
    classes: Annotated[list[str], typer.Argument(help='Abnormal classes, each in quotes: "Road accident".')],
    url: Annotated[str, typer.Option(help="OpenAI-compatible server, for example http://localhost:11434.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Vocabulary file to write.")] = Path("vocabulary.toml"),
    model: Annotated[str | None, typer.Option(help="By default the first that the server lists.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the vocabulary; by default the file's.")] = None,
    count: Annotated[int, typer.Option(min=1, max=50, help="Phrases for each class.")] = 4,
    normal_scene: Annotated[str | None, typer.Option(help='What the camera watches: "a railway station".')] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 300,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Have a language model write a vocabulary's phrases, to edit; OPENAI_API_KEY is sent if set."""
    from stprompt_edge.training.chat_server import ChatServer, key_from_environment
    from stprompt_edge.training.prompt_writer import PromptSettings, write_vocabulary

    server = ChatServer(url=url, key=key_from_environment(), timeout_s=timeout)
    settings = PromptSettings(
        classes=tuple(classes), out=out, name=name, count=count, normal_scene=normal_scene, force=force
    )
    chosen = model or server.pick_model()
    console.print(one_line(f"asking {chosen} at {server.url}", style="dim"), soft_wrap=True)
    with live_steps() as progress:
        written = write_vocabulary(server, chosen, settings, progress)
    phrases = sum(len(entry.phrases) for entry in written.classes)
    console.print(
        one_line(f"wrote {out}: {phrases} phrases for {len(classes)} classes, {len(written.normal_phrases)} normal")
    )
    console.print(one_line(f"edit it, then: stprompt-edge export --vocabulary {out}"), soft_wrap=True)
