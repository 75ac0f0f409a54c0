"""`python -m demo.scenes`: its options reach the renderer, its errors are lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.scenes import __main__ as command
from stprompt_edge.cli.exit_codes import run_to_exit


def typed(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_to_exit(command.app, arguments)
    return int(ended.value.code or 0)


def test_options_reach_the_renderer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def render(out: Path, seed: int, train: int, test: int, **options: Any) -> list[str]:
        options.pop("progress")(1, 3, "a.mp4")
        asked.append((out, seed, train, test, options))
        return ["a.mp4"] * 3

    monkeypatch.setattr(command, "render_dataset", render)
    arguments = ["--seed", "7", "--train-videos", "2", "--test-videos", "1", "--fps", "5", "--workers", "2"]
    assert typed("--out", str(tmp_path), *arguments) == 0
    assert asked == [(tmp_path, 7, 2, 1, {"fps": 5, "workers": 2})]
    assert capsys.readouterr().err == f"wrote 3 videos to {tmp_path}\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "--out"),
        (["--out", "d", "--fps", "0"], "--fps"),
        (["--out", "done"], "labels.csv exists already"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "labels.csv").write_text("")
    assert typed(*arguments) == 2
    said = capsys.readouterr().err
    assert what in said
    assert [line[:5] for line in said.splitlines()] == ["error", "  fix"]
