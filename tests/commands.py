"""Commands as they are typed, in this process."""

from __future__ import annotations

import sys

import pytest

from stprompt_edge.cli import main


def typed(*arguments: str) -> int:
    """Runs `stprompt-edge ARGUMENTS`; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stprompt-edge", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return ended.value.code
