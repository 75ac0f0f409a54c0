"""What MkDocs builds besides the pages of this folder: pages of the root, the examples and the commands.

They are made at build time from what they describe, so none of them can be stale.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from stprompt_edge.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "docker/README.md": "docker.md",
    **{f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted((ROOT / "examples").glob("*.py"))},
}
_ORIGINS = {page: origin for origin, page in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")  # the path of a relative link
_PACKAGE = str(ROOT / "stprompt_edge")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that this folder does not hold."""
    texts = {page: (ROOT / origin).read_text(encoding="utf-8") for origin, page in PAGES.items()}
    for page, text in texts.items():
        content = example_page(text) if _ORIGINS[page].endswith(".py") else text
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, "commands.md", content=command_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository become links of the site."""
    origin = _ORIGINS.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def on_the_site(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), found[1]))
        target = PAGES.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(on_the_site, markdown)


def example_page(script: str) -> str:
    """A script of `# %%` cells as a page: comments that head a cell are its text, the rest is code."""
    docstring, *cells = re.split(r"^# %%.*\n", script, flags=re.MULTILINE)
    title, _, rest = docstring.strip().strip('"').partition("\n")
    parts = [f"# {title.rstrip('.')}", rest.strip()]
    for cell in cells:
        text = re.match(r"(?:#.*\n)*", cell)
        assert text is not None
        prose = re.sub(r"^# ?", "", text[0], flags=re.MULTILINE).strip()
        code = cell[text.end() :].strip()
        parts += [prose, f"```python\n{code}\n```" if code else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def command_page() -> str:
    """Every command with its arguments and options, as the program itself knows them."""
    root = typer.main.get_command(app)
    lines = ["# Commands", "", root.help, "", "`--debug` may stand anywhere and adds the traceback to an error.", ""]
    for name, command in _commands(root, "stprompt-edge"):
        lines += [f"## {name.removeprefix('stprompt-edge ')}", "", f"```sh\n{_usage(name, command)}\n```", ""]
        lines += [*(command.help or "").splitlines(), "", *_table(command), ""]
    return "\n".join(lines)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The commands of a group and of the groups inside it, in the order of `--help`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}", command


def _usage(name: str, command: Any) -> str:
    arguments = [_argument(parameter) for parameter in command.params if _is_argument(parameter)]
    needed = [parameter for parameter in command.params if parameter.required and not _is_argument(parameter)]
    options = [f"{parameter.opts[0]} {parameter.name.upper()}" for parameter in needed]
    return " ".join([name, *arguments, *options, "[OPTIONS]"])


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _table(command: Any) -> list[str]:
    rows = [(_names(parameter), _default(parameter), parameter.help or "") for parameter in command.params]
    return ["| | default | |", "|---|---|---|", *(f"| {' | '.join(map(_cell, row))} |" for row in rows)]


def _names(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    """As --help shows it; a flag that is off and an option that is not given say nothing."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required:
        return "needed"
    text = "" if parameter.default in (None, ()) or parameter.default is False else str(parameter.default)
    if text.startswith(_PACKAGE):
        return "the packaged one"
    return text and f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
