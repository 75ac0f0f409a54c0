from pathlib import Path

import pytest

from stprompt_edge.errors import UsageError
from stprompt_edge.features.settings import ExtractionSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensor"}, r"unknown --backend 'tensor'\n.*did you mean 'torch'"),
        ({"precision": "int4"}, r"unknown --precision 'int4'\n.*known: cpu8, fp16, fp32"),
        ({"backend": "torch", "precision": "cpu8"}, r"unknown --precision 'cpu8' for torch\n.*known: fp16, fp32"),
        ({"backend": "onnx", "pretrained": "x.pt"}, r"--pretrained is for --backend torch\n.*graph holds its weights"),
    ],
)
def test_what_does_not_fit(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExtractionSettings(bundle=Path("b"), stride=16, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"backend": "onnx", "precision": "cpu8"}, {"pretrained": "x.pt"}, {"backend": "torch", "precision": "fp16"}],
)
def test_what_fits(options: dict) -> None:
    assert ExtractionSettings(bundle=Path("b"), stride=16, **options).stride == 16
