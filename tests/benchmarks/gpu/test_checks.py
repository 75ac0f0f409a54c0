"""What processes say, in figures; what is missing, in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.gpu import checks
from benchmarks.gpu.checks import describe_machine, run_process, summarize_sanitizer, summarize_tests
from benchmarks.gpu.measuring import Budget
from benchmarks.gpu.reasons import NotMeasured


@pytest.mark.parametrize(
    ("code", "output", "passed", "failures"),
    [
        (0, "....\n8 passed in 3.21s\n", True, []),
        (0, "SKIPPED [1] a: b\n===== 7 passed, 1 skipped in 3.21s =====\n", True, []),
        (1, "FAILED tests/x.py::y - E\n1 failed, 3 passed in 1s\n", False, ["FAILED tests/x.py::y - E"]),
        (2, "ERROR tests/x.py\n1 error in 1s\n", False, ["ERROR tests/x.py"]),
        (4, "", False, []),
    ],
)
def test_pytests_last_line(code: int, output: str, passed: bool, failures: list[str]) -> None:
    found = summarize_tests(code, output)
    assert (found["passed"], found["failures"]) == (passed, failures)
    assert found["summary"]


@pytest.mark.parametrize(
    ("code", "output", "told"),
    [
        (
            0,
            "SKIPPED [6] test_on_gpu.py:55: no CUDA device\n8 skipped in 1s\n",
            "no test ran: SKIPPED .* no CUDA device",
        ),
        (5, "no tests ran in 0.1s\n", "no test ran: no tests ran"),
    ],
)
def test_a_group_that_was_skipped_has_proved_nothing(code: int, output: str, told: str) -> None:
    with pytest.raises(NotMeasured, match=told):
        summarize_tests(code, output)


def test_the_sanitizers_summary() -> None:
    clean = summarize_sanitizer(0, "18 frames\n========= ERROR SUMMARY: 0 errors\n")
    assert clean == {"clean": True, "summary": "ERROR SUMMARY: 0 errors"}
    assert not summarize_sanitizer(42, "========= Invalid read\n========= ERROR SUMMARY: 3 errors\n")["clean"]
    assert not summarize_sanitizer(0, "nothing was looked at\n")["clean"]
    with pytest.raises(NotMeasured, match="it ended with 1: Device not supported"):
        summarize_sanitizer(1, "Device not supported\n")


def test_a_process_gives_its_code_and_output() -> None:
    code, output = run_process([sys.executable, "-S", "-c", "print('said'); raise SystemExit(3)"], 60)
    assert (code, output) == (3, "said\n")


def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(NotMeasured, match=r"python\S* took longer than 1 s and was ended"):
        run_process([sys.executable, "-S", "-c", "import time; time.sleep(60)"], 1)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(NotMeasured, match="/no/such does not start"):
        run_process(["/no/such"], 1)


def test_missing_packages_are_named_with_what_they_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PACKAGES", {"numpy": "everything", "no_such": "nothing", "no.such": "less"})
    machine = describe_machine()
    assert list(machine["packages"]) == ["numpy"]
    assert machine["packages_missing"] == {"no_such": "nothing", "no.such": "less"}


@pytest.mark.parametrize("module", ["pytest", "hypothesis"])
def test_no_tests_without_their_packages(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setattr(checks, "_importable", lambda name: name != module)
    found = checks.run_tests(Budget(1000))
    assert found["gpu"] == found["kernel"] == {"not_measured": f"{module} is not installed"}


def test_no_tests_without_time() -> None:
    assert checks.run_tests(Budget(1))["gpu"]["not_measured"].startswith("no time left: the tests may take 120 s")


def test_the_sanitizer_is_run_over_the_small_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "compute-sanitizer"
    program.touch()
    commands: list[list[str]] = []

    def run(command: list[str], timeout_s: float) -> tuple[int, str]:
        commands.append(command)
        return 0, "========= ERROR SUMMARY: 0 errors"

    monkeypatch.setattr(checks, "run_process", run)
    monkeypatch.setattr(checks.shutil, "which", lambda name: str(program))
    found = checks.run_sanitizer(tmp_path / "k.cubin", Budget(1000))
    assert list(found) == list(checks.SANITIZER_TOOLS)
    assert all(figures["clean"] for figures in found.values())
    assert commands[1][1:5] == ["--tool", "racecheck", "--error-exitcode", "42"]
    assert commands[1][-2:] == ["benchmarks.gpu.small_run", str(tmp_path / "k.cubin")]
    monkeypatch.setattr(checks.shutil, "which", lambda name: str(tmp_path / "absent"))
    with pytest.raises(NotMeasured, match="compute-sanitizer is not installed"):
        checks.run_sanitizer(tmp_path / "k.cubin", Budget(1000))
