"""A typer app run to its exit code: our errors, and streams that fail, become one or two lines."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from rich.text import Text

from stprompt_edge.cli.terminal import console
from stprompt_edge.errors import INTERRUPTED_EXIT_CODE, StpromptEdgeError, StpromptEdgeWarning, UsageError
from stprompt_edge.imports import what_lacks
from stprompt_edge.progress import one_line
from stprompt_edge.streams import guarded_streams

COMMAND_LINE_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, of click or of newer typer's own copy of it


def run_to_exit(app: typer.Typer, arguments: Sequence[str]) -> NoReturn:
    """Runs what was typed and ends the process; `--debug`, anywhere, lets tracebacks through."""
    with guarded_streams() as streams:
        code = _run(app, arguments)
        if failure := streams.failure():
            _print_error(failure)
        code = streams.exit_code(code)
    sys.exit(code)


def _run(app: typer.Typer, arguments: Sequence[str]) -> int:
    debug = "--debug" in arguments
    typed = [argument for argument in arguments if argument != "--debug"]
    if not typed and app.info.no_args_is_help is True:
        typed = ["--help"]  # asked for like this it is no error
    warnings.showwarning = _show_warning
    try:
        code = app(typed, standalone_mode=False)
    except StpromptEdgeError as exc:
        if debug:
            raise
        code = _print_error(exc)
    except COMMAND_LINE_ERROR as exc:
        command = exc.ctx.command_path if getattr(exc, "ctx", None) else app.info.name
        code = _print_error(UsageError(exc.format_message(), remedy=f"see: {command} --help"))
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted", style="yellow")
        code = INTERRUPTED_EXIT_CODE
    except Exception as exc:
        lacking = None if debug else what_lacks(exc)
        if lacking is None:
            raise
        code = _print_error(lacking)
    return code or 0


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Ours in one line, others as Python shows them."""
    ours = issubclass(category, StpromptEdgeWarning)
    text = f"warning: {message}" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    console.print(Text(text.rstrip(), style="yellow" if ours else ""), soft_wrap=True)


def _print_error(error: StpromptEdgeError) -> int:
    """Says it in two lines; gives its exit code."""
    line = Text("error: ", style="bold red")
    line.append(error.what, style="default")
    console.print(line, soft_wrap=True, highlight=False)
    console.print(one_line(f"  fix: {error.remedy}"), soft_wrap=True, highlight=False)
    return error.exit_code
