"""What the repository says about itself: its version, workflows and forms, and the files that they name."""

from __future__ import annotations

import importlib.util
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import stprompt_edge

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS_BY_NAME = {path.stem: path for path in WORKFLOWS}
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
SINGLE_FILES = [ROOT / name for name in (".github/dependabot.yml", ".pre-commit-config.yaml", "CITATION.cff")]


def content(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [*WORKFLOWS, *FORMS, *SINGLE_FILES], ids=lambda path: path.name)
def test_yaml_is_a_table(path: Path) -> None:
    assert isinstance(content(path), dict)


def test_the_version_stands_once() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert content(ROOT / "CITATION.cff")["version"] == stprompt_edge.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)
    assert released[0] == stprompt_edge.__version__


def test_the_citation_has_what_its_format_asks_for() -> None:
    citation = content(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert "2408.05905" in paper["identifiers"][0]["value"]


def test_every_python_that_is_promised_is_tested() -> None:
    tested = content(WORKFLOWS_BY_NAME["test"])["jobs"]["test"]["strategy"]["matrix"]["python"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tested == promised
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert f"Python {tested[0]} to {tested[-1]}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_few_rights_and_ends(path: Path) -> None:
    workflow = content(path)
    assert "contents" in workflow["permissions"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert all(step.get("run") or "@" in step["uses"] for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_files_that_a_workflow_names_exist(path: Path) -> None:
    named = re.findall(r"(?<![\w/])\.ci/[\w.]+|pyproject\.toml", path.read_text(encoding="utf-8"))
    assert all((ROOT / name).exists() for name in named)


def test_ci_runs_what_developers_run() -> None:
    steps = content(WORKFLOWS_BY_NAME["test"])["jobs"]["test"]["steps"]
    assert steps[-1]["run"] == ".ci/run"
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("make test")


def test_extras_that_are_installed_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*WORKFLOWS, ROOT / "Makefile")]
    named = {extra for text in texts for found in re.findall(r"\[([a-z,]+)\]['\"]", text) for extra in found.split(",")}
    assert {"cpu", "docs", "dev"} <= named
    assert named <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_for_the_doctor(path: Path) -> None:
    form = content(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field["attributes"]["label"] == "stprompt-edge doctor --json" for field in fields)
    for name in re.findall(r"`([\w/]+\.md)`", path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


@pytest.fixture
def check_wheel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / ".ci" / "check_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel_of(folder: Path, files: tuple[str, ...], size: int = 0) -> Path:
    path = folder / "stprompt_edge-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (*files, "stprompt_edge-0.1.0.dist-info/METADATA"):
            archive.writestr(file, bytes(size))
    return path


@pytest.mark.parametrize(
    ("left_out", "added", "size", "tag", "said"),
    [
        (0, (), 0, "v0.1.0", None),
        (0, (), 0, "v0.2.0", "the tag is v0.2.0, the version 0.1.0"),
        (0, (), 2_000_000, "v0.1.0", "at most 10,000,000 are meant"),
        (1, (), 0, "v0.1.0", "py.typed is missing"),
        (0, ("tests/test_cli.py",), 0, "v0.1.0", "tests/test_cli.py does not belong into it"),
        (0, ("stprompt_edge/assets/demo/clip-weights.safetensors",), 0, "v0.1.0", "does not belong into it"),
    ],
)
def test_a_wheel_that_should_not_be_published(
    left_out: int,
    added: tuple[str, ...],
    size: int,
    tag: str,
    said: str | None,
    check_wheel: ModuleType,
    tmp_path: Path,
) -> None:
    found = check_wheel.problems(wheel_of(tmp_path, (*check_wheel.NEEDED[left_out:], *added), size), tag)
    assert [line for line in found if said and said in line] == found
    assert bool(found) == bool(said)


def test_what_a_wheel_needs_is_in_the_repository(check_wheel: ModuleType) -> None:
    assert all((ROOT / name).is_file() for name in check_wheel.NEEDED)
