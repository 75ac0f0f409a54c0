"""README's commands are walked: each line of its shell blocks, and of the other pages', is one that the program takes;
what can be run here in a moment is run, and leaves the files that the tables promise.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.cli.app import app
from stprompt_edge.cli.exit_codes import COMMAND_LINE_ERROR
from tests.commands import typed

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


def shell_lines(page: Path) -> list[str]:
    """Commands of the program in the shell blocks of a page, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"(OPENAI_API_KEY=\S+ )?stprompt-edge\b", line)]


COMMANDS = [pytest.param(line, id=f"{page.stem}: {line[:60]}") for page in PAGES for line in shell_lines(page)]


def test_there_is_something_to_walk() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_pages_is_taken(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", ["stprompt-edge run a.mp4 --bogus", "stprompt-edge runs a.mp4", "stprompt-edge train"])
def test_another_is_not(line: str) -> None:
    with pytest.raises(COMMAND_LINE_ERROR):
        parse(line)


def parse(line: str) -> None:
    """Names, options and their values; nothing is run."""
    _, *words = [word for word in shlex.split(line, comments=True) if "=" not in word.split("-")[0]]
    words = [word for word in words if word not in ("&&", "|")]
    command: Any = typer.main.get_command(app)
    context = command.make_context("stprompt-edge", [word for word in words if word != "--debug"])
    while getattr(command, "commands", None):
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    assert not command.hidden, f"{line}: this command is kept for an old habit only"


def test_the_table_names_every_command() -> None:
    group: Any = typer.main.get_command(app)
    named = set(re.findall(r"^\| `stprompt-edge ([a-z-]+)", README, re.MULTILINE))
    assert named == {name for name, command in group.commands.items() if not command.hidden}


def test_a_run_leaves_the_files_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    table = README.partition("`run` writes five files, all or none:")[2].partition("\n\nOptions")[0]
    promised = set(re.findall(r"^\| `([a-z.]+[a-z0-9])`", table, re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    camera = f'[cameras.camera0]\nsource = "{DEMO_CLIP}"\nstride = 16\nthreshold = 0.6\n'
    (tmp_path / "cameras.toml").write_text(camera, encoding="utf-8")
    assert typed("run", "camera0", "--max-frames", "40") == 0
    assert {path.name for path in (tmp_path / "stprompt-edge-out").iterdir()} == promised
    assert len(promised) == 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "x.mp4", "--no-such-option"], 2),
        (["run", "no-such.mp4"], 4),
        (["run", str(DEMO_CLIP), "--bundle", "no-bundle"], 2),
        (["scenes", "--out", "x"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed(*arguments) == code
    assert re.search(rf"^\| {code} \|", README, re.MULTILINE)
