"""README's figures are those of the committed results, and its examples are ones that the program takes."""

import re
from pathlib import Path

import pytest

from benchmarks.common import RESULTS
from benchmarks.readme import README, SECTIONS, render
from stprompt_edge.bundle import ENCODER_NAMES
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, SourceError, UsageError
from stprompt_edge.runtime.cameras import load_camera

TEXT = README.read_text(encoding="utf-8")


def test_figures_are_the_committed_ones() -> None:
    assert render(TEXT) == TEXT, "run: python -m benchmarks.readme"
    assert {path.stem for path in RESULTS.glob("*.json")} >= {"demo", "speed", "parity", "endurance", "outliers"}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_missing_section_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"no section <!-- {name} -->"):
        render(TEXT.replace(f"<!-- {name} -->", ""))


def test_the_camera_example_loads(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example
    path = tmp_path / "cameras.toml"
    path.write_text(example[1])
    assert load_camera("camera0", path).stride == 16


@pytest.mark.parametrize("error", [UsageError, CheckFailed, SourceError, EnvironmentFailure])
def test_exit_codes_are_in_the_table(error: type[UsageError]) -> None:
    assert re.search(rf"^\| {error.exit_code} \|", TEXT, re.MULTILINE)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (README.parent / target).exists(), target


@pytest.mark.parametrize("precision", ["fp32", "fp16", "cpu8"])
def test_encoder_files_are_named(precision: str) -> None:
    assert f"`{ENCODER_NAMES[precision]}`" in TEXT
