"""The command line, one file per command: parse, call one function, print."""

from stprompt_edge.cli.app import main

__all__ = ["main"]
