"""Pages that are made at build time, and pictures that are drawn from tables."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import griffe
import pytest
import typer.main
import yaml

from docs import field_comments, hooks, pictures
from stprompt_edge.cli.app import app
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, SourceError, UsageError

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "stprompt_edge"
TEXTS = [ROOT / name for name in hooks.PAGES if name.endswith(".md")] + sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    text = re.sub(r"!!python\S*", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config = yaml.safe_load(text)
    listed = {value for value in re.findall(r"[\w/]+\.md", str(config["nav"]))}
    made = {*hooks.PAGES.values(), "commands.md"}
    assert listed == made | {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert config["theme"]["font"] is False  # a reader's browser fetches nothing


def test_every_command_has_its_section_with_every_option() -> None:
    page = hooks.command_page()
    commands = list(hooks._commands(typer.main.get_command(app), "stprompt-edge"))
    assert {"stprompt-edge run", "stprompt-edge calibrate int8"} <= {name for name, _ in commands}
    for name, command in commands:
        section = page.partition(f"## {name.removeprefix('stprompt-edge ')}\n")[2].partition("\n## ")[0]
        assert command.help in section
        assert all(f"`{option}`" in section for one in command.params for option in one.opts if option[0] == "-")
    assert str(ROOT) not in page


def test_an_example_becomes_prose_and_code() -> None:
    script = '"""A title.\n\nMore.\n"""\n\n# %%\n# What it\n# does.\nx = 1\n\n# %%\n# Only words.\n'
    page = "# A title\n\nMore.\n\nWhat it\ndoes.\n\n```python\nx = 1\n```\n\nOnly words.\n"
    assert hooks.example_page(script) == page


def test_the_reference_reads_comments_behind_fields() -> None:
    code = '''
class Sample:
    """One."""
    seconds: float  # since the start
    name: str
    told: int  # not this
    """This."""
    KINDS: ClassVar[int] = 1  # not this either
'''
    with griffe.temporary_visited_module(
        code, extensions=griffe.load_extensions(field_comments.FieldComments())
    ) as module:
        docstring = module["Sample"].docstring.value
    assert docstring == "One.\n\nAttributes:\n    seconds: since the start\n    name: –"


@pytest.mark.parametrize("error", [UsageError, CheckFailed, SourceError, EnvironmentFailure])
def test_exit_codes_are_on_the_page(error: type[UsageError]) -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    assert f"| {error.exit_code} | `{error.__name__}` |" in page


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_pictures_are_those_that_are_drawn(name: str) -> None:
    assert (pictures.IMAGES / name).read_text(encoding="utf-8") == pictures.PICTURES[name](), "python -m docs.pictures"


def files_of(room: str) -> list[Path]:
    """The modules of a room, which is a package, a module, or several modules called the core."""
    if room == "core":
        return [path for name in pictures.CORE for path in files_of(name)]
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imported_rooms(path: Path) -> set[str]:
    """What a file imports of this package, inside functions too: the names behind `stprompt_edge.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        found |= {name.split(".")[1] for name in names if name.startswith("stprompt_edge.")}
    return found


@pytest.mark.parametrize("room", [room.name for room in pictures.ROOMS])
def test_rooms_of_the_picture_exist(room: str) -> None:
    assert all(path.is_file() for path in files_of(room))


def test_every_room_is_in_the_picture() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"assets"}
    assert packages <= {room.name for room in pictures.ROOMS}


@pytest.mark.parametrize("part", [*(f"runtime/{part}" for part in pictures.EDGE_PARTS), "runtime/watch"])
def test_parts_of_the_edge_exist(part: str) -> None:
    assert (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()


@pytest.mark.parametrize("station", pictures.STATIONS, ids=lambda station: station.name)
def test_files_of_the_stations_exist(station: pictures.Station) -> None:
    assert (PACKAGE / station.file).exists()


@pytest.mark.parametrize(("importer", "imported"), pictures.IMPORTS)
def test_arrows_are_imports_and_point_down(importer: str, imported: str) -> None:
    names = set(pictures.CORE) if imported == "core" else {imported}
    assert any(imported_rooms(path) & names for path in files_of(importer))
    places = {room.name: room for room in pictures.ROOMS}
    assert places[importer].y < places[imported].y + places[imported].height
