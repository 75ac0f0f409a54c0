"""TensorRT's module, its messages and its ways to say no."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import Messages, checked, import_tensorrt, make_logger
from tests.fakes.device import install


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EnvironmentFailure, match=r"(?s)TensorRT cannot be imported.*--system-site-packages"):
        import_tensorrt()


def test_messages_are_kept_by_severity(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    messages = Messages()
    assert messages.last_error == "TensorRT gave no reason"
    logger: Any = make_logger(messages)
    for severity, text in enumerate(["broken ", "wrong", "careful", "by the way", "noise"]):
        logger.log(severity, text)
    assert messages.errors == ["broken", "wrong"]
    assert messages.warnings == ["careful"]
    assert messages.last_error == "wrong"


@pytest.mark.parametrize("result", [0, True, "", b"", [], object()])
def test_results_that_are_good(result: object) -> None:
    assert checked(result, "testing", Messages()) is result


@pytest.mark.parametrize("result", [None, False, -1])
def test_results_that_are_failures(result: object) -> None:
    messages = Messages()
    messages.errors.append("IBuilder::x: Error Code 4: API Usage Error")
    with pytest.raises(EnvironmentFailure, match="TensorRT failed while testing: IBuilder::x: Error Code 4"):
        checked(result, "testing", messages)
