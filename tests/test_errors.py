"""One tree of errors: what went wrong, what to do, and an exit code of its own for each kind."""

from __future__ import annotations

import doctest
import pickle

import pytest

from stprompt_edge import errors
from stprompt_edge.errors import (
    INTERRUPTED_EXIT_CODE,
    CheckFailed,
    EnvironmentFailure,
    SourceError,
    StpromptEdgeError,
    UsageError,
    UserError,
    nearest,
)

KINDS = [UsageError, CheckFailed, SourceError, EnvironmentFailure]


def test_exit_codes_are_the_documented_ones() -> None:
    assert [kind.exit_code for kind in KINDS] == [2, 3, 4, 5]
    assert INTERRUPTED_EXIT_CODE == 130
    assert StpromptEdgeError.exit_code not in {kind.exit_code for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_messages_say_what_and_what_to_do(kind: type[StpromptEdgeError]) -> None:
    with pytest.raises(kind, match=r"^no such file\n  fix: give another$") as caught:
        raise kind("no such file", remedy="give another")
    assert (caught.value.what, caught.value.remedy) == ("no such file", "give another")


@pytest.mark.parametrize(
    ("kind", "user"), [(UsageError, True), (CheckFailed, True), (SourceError, True), (EnvironmentFailure, False)]
)
def test_the_callers_errors_are_apart_from_the_machines(kind: type[StpromptEdgeError], user: bool) -> None:
    assert issubclass(kind, StpromptEdgeError)
    assert issubclass(kind, UserError) is user


@pytest.mark.parametrize("kind", KINDS)
def test_a_remedy_is_not_optional(kind: type[StpromptEdgeError]) -> None:
    with pytest.raises(TypeError, match="remedy"):
        kind("what")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("", [], "known: none"),
        ("x", [], "known: none"),
        ("fp16", ["fp16"], "did you mean 'fp16'? known: fp16"),
        ("fp17", ["fp32", "cpu8", "fp16"], "did you mean 'fp16'? known: cpu8, fp16, fp32"),
        ("quite different", ["b", "a"], "known: a, b"),
        ("fight", ["fire", "fighting"], "did you mean 'fighting'? known: fighting, fire"),
        ("FIGHTS", ["fire", "Fighting"], "did you mean 'Fighting'? known: Fighting, fire"),
        ("road-accident", ["normal", "RoadAccidents"], "did you mean 'RoadAccidents'? known: RoadAccidents, normal"),
        ("car", ["cat", "car on the pavement"], "did you mean 'cat'? known: car on the pavement, cat"),
        ("car", ["dog", "car on the pavement"], "did you mean 'car on the pavement'? known: car on the pavement, dog"),
        (
            "Cyclist_on",
            ["cyclist on the pavement"],
            "did you mean 'cyclist on the pavement'? known: cyclist on the pavement",
        ),
        ("ca", ["car on the pavement"], "known: car on the pavement"),
    ],
)
def test_nearest(name: str, known: list[str], expected: str) -> None:
    assert nearest(name, known) == expected


def test_the_examples_in_the_docstrings_are_true() -> None:
    result = doctest.testmod(errors)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("kind", KINDS)
def test_errors_come_back_whole_from_another_process(kind: type[StpromptEdgeError]) -> None:
    error = pickle.loads(pickle.dumps(kind("disk full", remedy="free some space")))
    assert (type(error), error.what, error.remedy) == (kind, "disk full", "free some space")
