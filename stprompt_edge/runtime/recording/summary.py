"""summary.json: what was run, on what, how fast, and what went wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

from stprompt_edge.runtime.recording.plain_json import json_text
from stprompt_edge.runtime.records import RunFacts, RunSummary


def summary_text(facts: RunFacts, summary: RunSummary, files: tuple[str, ...]) -> str:
    """The fields of both records in one object, indented by 2; `files` are the names this run wrote.

    Returns:
        JSON text with a final newline; NaN and infinity become null.
    """
    fields: dict[str, Any] = {"files": files}
    for record in (facts, summary):
        for field in dataclasses.fields(record):
            assert field.name not in fields, field.name
            fields[field.name] = getattr(record, field.name)
    return json_text(fields, indent=2) + "\n"
