"""Names with bytes that are no UTF-8, and in other scripts, through whole commands: in as they are, out spelled out."""

from __future__ import annotations

import csv
import doctest
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stprompt_edge import files
from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import ParityFigures
from stprompt_edge.errors import single_line
from stprompt_edge.files import PartialText, printable, write_text_atomic
from stprompt_edge.runtime.recording.plain_json import json_text
from tests import videos
from tests.commands import typed

LATIN, BYTES, JAPANESE, ARABIC = b"caf\xe9", b"\xff\xfe\x80", "日本".encode(), "كاميرا".encode()
NAMES = pytest.mark.parametrize("name", [LATIN, BYTES, JAPANESE, ARABIC, "🎥".encode(), "車".encode("shift_jis")])


@NAMES
def test_a_run_from_and_to_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: bytes
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    video, out, bundle = (os.fsdecode(name + suffix) for suffix in (b".mp4", b"-out", b"-bundle"))
    videos.write_video(Path("a.mp4")).rename(video)
    shutil.copytree(DEMO_BUNDLE, bundle)
    assert typed("run", video, "--bundle", bundle, "--out", out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    for text in ("summary.json", "events.json", "report.html", "scores.csv"):
        content = Path(out, text).read_bytes().decode("utf-8")  # strictly
        assert text == "scores.csv" or printable(video).replace("\\", "\\\\" if "json" in text else "\\") in content
    assert printed["source"]["name"] == json.loads(Path(out, "events.json").read_text("utf-8"))["source"]
    assert printed["source"]["name"] == printable(video)
    assert printed["bundle"]["bundle"] == printable(bundle)
    assert Path(out, "annotated.mp4").stat().st_size > 1000
    with Path(out, "scores.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == printed["sampled_frames"] > 0


@pytest.mark.parametrize("arguments", [["run"], ["bench", "--source"], ["run", "--bundle"], ["run", "--cameras"]])
def test_an_error_line_has_any_name(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    pytest.importorskip("onnxruntime")
    missing = os.fsdecode(LATIN)
    more = ["gate"] if arguments == ["run", "--cameras"] else [str(DEMO_BUNDLE)] if "--bundle" in arguments else []
    assert typed(*arguments, missing, *more) in (2, 4)
    told = capsys.readouterr().err
    assert re.search(r"error: .*(caf|gate)", told)
    assert told.count("error: ") == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines", r"two\nlines"),
        ("red\x1b[31m", r"red\x1b[31m"),
        ("over\rwritten\b", r"over\rwritten\x08"),
        ("back\u202egpm", r"back\u202egpm"),
        ("next\x85\u2028line", r"next\x85\u2028line"),
        ("[b]bold[/i] :smile:", "[b]bold[/i] :smile:"),
    ],
)
def test_a_name_stays_on_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, shown: str
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    assert typed("run", name) == 4
    assert f"error: no such file or camera: '{shown}'\n" in capsys.readouterr().err
    assert typed("run", str(videos.write_video(Path("a.mp4"))), "--no-save-video", "--out", name) == 0
    told = capsys.readouterr().err
    assert f"wrote {shown}/scores.csv\n" in told
    assert all(line.isprintable() for line in told.split("\n"))
    assert typed("vocabulary", "show", "scenes") == 0
    Path(name).with_suffix(".toml").write_text(capsys.readouterr().out, "utf-8")
    assert typed("vocabulary", "check", f"{name}.toml") == 0
    assert capsys.readouterr().out.startswith(f"ok: {shown}.toml: vocabulary")


@pytest.mark.parametrize("name", ["ck[/b]", "two\nlines", "red\x1b[31m"])
def test_what_was_trained_is_told_by_any_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    commands = pytest.importorskip("stprompt_edge.training.commands")
    monkeypatch.setattr(commands, "train", lambda settings, **told: settings.out / "best.safetensors")
    assert typed("train", "features", "--out", name) == 0
    assert capsys.readouterr().err == f"wrote {single_line(name)}/best.safetensors\n"


@NAMES
def test_text_files_take_any_text(tmp_path: Path, name: bytes) -> None:
    text = os.fsdecode(name)
    write_text_atomic(tmp_path / text, text)
    part = PartialText(tmp_path / f"{text}2")
    part.write(text)
    part.close()
    part.publish()
    for path in (tmp_path / text, tmp_path / f"{text}2"):
        assert path.read_bytes().decode("utf-8") == printable(text)


@NAMES
def test_json_takes_any_text_and_strict_parsers_take_it(name: bytes) -> None:
    text = os.fsdecode(name)
    written = json_text({text: [text]})
    assert json.loads(written) == {printable(text): [printable(text)]}
    if shutil.which("node"):  # a parser that is not ours
        check = "const t = JSON.parse(process.argv[1]); if (!Object.keys(t)[0].isWellFormed()) process.exit(1)"
        subprocess.run(["node", "-e", check, written], check=True)
    written.encode("utf-8")


@NAMES
def test_a_manifest_names_any_footage(name: bytes) -> None:
    figures = ParityFigures(min_cosine=1.0, max_score_difference=0.0, frames=8, source=os.fsdecode(name))
    assert figures.source == printable(os.fsdecode(name))
    assert ParityFigures.model_validate_json(figures.model_dump_json()) == figures


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é 日本 🎥", "plain é 日本 🎥"), (os.fsdecode(LATIN), "caf\\udce9"), ("\ud800", "\\ud800"), ("", "")],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(files) == (0, 2)
