"""`doctor`: what this machine has and lacks."""

from __future__ import annotations

import json

from stprompt_edge.cli.options import JsonOption
from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.progress import open_console
from stprompt_edge.streams import print_json


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what it lacks, and what to type about it."""
    from stprompt_edge.doctor import examine, render

    report = examine()
    if as_json:
        print_json(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        open_console(stderr=False).print(render(report))
    if report.failed:
        raise EnvironmentFailure(
            f"{len(report.failed)} checks failed: {', '.join(check.name for check in report.failed)}",
            remedy="see the lines marked failed above",
        )
