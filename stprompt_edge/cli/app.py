"""All commands under their names, and the program's entry."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stprompt_edge import __version__
from stprompt_edge.cli.bench import bench
from stprompt_edge.cli.build_engine import build_engine
from stprompt_edge.cli.calibrate import calibrate_int8
from stprompt_edge.cli.doctor import doctor
from stprompt_edge.cli.evaluate import evaluate
from stprompt_edge.cli.exit_codes import run_to_exit
from stprompt_edge.cli.export import export
from stprompt_edge.cli.extract import extract
from stprompt_edge.cli.prompts import prompts
from stprompt_edge.cli.run import demo, run
from stprompt_edge.cli.scenes import scenes
from stprompt_edge.cli.train import train
from stprompt_edge.cli.vocabulary import check_vocabulary, show_vocabulary

app = typer.Typer(
    name="stprompt-edge",
    help="Video anomaly detection and localization from video-level labels, from training to cameras at the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
calibrate = typer.Typer(help="Fit a bundle to your own footage.", no_args_is_help=True)
calibrate.command("int8")(calibrate_int8)
vocabularies = typer.Typer(help="Show and check vocabularies: classes and phrases.", no_args_is_help=True)
vocabularies.command("show")(show_vocabulary)
vocabularies.command("check")(check_vocabulary)
app.add_typer(calibrate, name="calibrate")
app.add_typer(vocabularies, name="vocabulary")
for command in (export, build_engine, run, demo, bench, prompts, extract, train, evaluate, doctor):
    app.command()(command)
app.command(
    hidden=True, add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)(scenes)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"stprompt-edge {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=False)
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Options that stand before the command; --debug is taken out by `run_to_exit`."""


def main() -> None:
    """What was typed, to its end."""
    run_to_exit(app, sys.argv[1:])
