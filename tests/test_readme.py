"""Figures of the pages are those of the committed results, and README's examples are ones that the program takes."""

import re
from pathlib import Path

import pytest

from benchmarks.common import RESULTS
from benchmarks.readme import PAGES, README, render
from stprompt_edge.bundle import ENCODER_NAMES
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, SourceError, UsageError
from stprompt_edge.runtime.cameras import load_camera
from stprompt_edge.vocabulary import load_vocabulary

TEXT = README.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_are_the_committed_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert render(page, text) == text, "run: python -m benchmarks.readme"


def test_every_committed_result_is_stated_somewhere() -> None:
    stated = {name for sections in PAGES.values() for name in sections} | {"speed"}
    assert {path.stem for path in RESULTS.glob("*.json")} <= stated


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, sections in PAGES.items() for name in sections])
def test_a_missing_section_is_an_error(page: Path, name: str) -> None:
    text = page.read_text(encoding="utf-8").replace(f"<!-- {name} -->", "")
    with pytest.raises(ValueError, match=f"{page.name} has no section <!-- {name} -->"):
        render(page, text)


def toml_example(beginning: str) -> str:
    (found,) = (text for text in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if text.startswith(beginning))
    return found


def test_the_camera_example_loads(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_text(toml_example("[cameras"))
    assert load_camera("camera0", path).stride == 16


def test_the_vocabulary_example_loads(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(toml_example("name ="))
    vocabulary = load_vocabulary(path)
    assert vocabulary.class_names == ("normal", "fighting", "person on the tracks")
    assert vocabulary.row_of_label("Trespassing") == 2


@pytest.mark.parametrize("error", [UsageError, CheckFailed, SourceError, EnvironmentFailure])
def test_exit_codes_are_in_the_table(error: type[UsageError]) -> None:
    assert re.search(rf"^\| {error.exit_code} \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "cpu8"])
def test_encoder_files_are_named(precision: str) -> None:
    assert f"`{ENCODER_NAMES[precision]}`" in TEXT
