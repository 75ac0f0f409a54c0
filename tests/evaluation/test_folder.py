"""The output folder: whole, repeatable, and nobody else's."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from stprompt_edge import files
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.evaluation import folder, page
from stprompt_edge.evaluation.folder import check_out, to_dict, write_evaluation
from stprompt_edge.evaluation.records import Evaluation

from .scored import evaluation, scored, small_set


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested elsewhere, and slow."""

    class Blank:
        name = "timelines"

        def png(self, theme: object) -> bytes:
            return b"png"

    monkeypatch.setattr(folder, "charts_of", lambda evaluation: [])
    monkeypatch.setattr(folder, "timelines_sheet", lambda evaluation: Blank())
    monkeypatch.setattr(folder, "page_html", lambda evaluation: "<html>")


@pytest.fixture(scope="module")
def streamed() -> Evaluation:
    return evaluation(small_set(), skipped=(("gone.mp4", "no such file"),), notes=("a note",))


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_every_file_is_there(tmp_path: Path, streamed: Evaluation) -> None:
    written = write_evaluation(streamed, tmp_path / "out", html=True)
    charts = {"roc.png", "precision-recall.png", "lookahead.png", "alarms.png", "classes.png", "timelines.png"}
    scores = {f"scores/{name}.csv" for name in "abcd"}
    assert {str(path.relative_to(tmp_path / "out")) for path in written} == set(tree(tmp_path / "out"))
    assert set(tree(tmp_path / "out")) == {"metrics.json", "evaluation.html"} | charts | scores
    assert written[0].name == "metrics.json"


def test_the_same_again(tmp_path: Path, streamed: Evaluation, no_charts: None) -> None:
    write_evaluation(streamed, tmp_path, html=True)
    before = tree(tmp_path)
    write_evaluation(streamed, tmp_path, html=True)
    assert tree(tmp_path) == before


def test_metrics_hold_every_figure(tmp_path: Path, streamed: Evaluation, no_charts: None) -> None:
    write_evaluation(streamed, tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert (found["schema"], found["kind"]) == (1, "stprompt-edge evaluation")
    assert found["figures"]["frames"]["auc"] == pytest.approx(streamed.figures.frames.auc)  # type: ignore[union-attr]
    assert set(found["figures"]["classes"]) == {"fire", "fighting"}
    assert found["figures"]["localization"]["tiou"] == pytest.approx(0.25)
    assert [point["lookahead"] for point in found["figures"]["lookahead"]] == [0, 1, None]
    assert found["figures"]["alarm"]["own"]["threshold_on"] == 0.5
    assert found["videos"][2] | {"warnings": []} == {
        "name": "c", "label": "fire", "camera_frames": 10, "stride": 1, "seconds": 10.0, "abnormal_frames": 4,
        "anomalies": [{"start_seconds": 2.0, "end_seconds": 6.0}], "highest_score": 0.9, "alarm_share": 0.4,
        "tiou": 0.25, "mean_iou": 0.35, "warnings": [],
    }  # fmt: skip
    assert found["skipped"] == [{"name": "gone.mp4", "reason": "no such file"}]
    assert found["notes"] == ["a note"]
    assert found["files"] == sorted(set(tree(tmp_path)) - {"metrics.json"})


def test_infinite_times_are_null_in_json(streamed: Evaluation) -> None:
    from stprompt_edge.runtime.recording.plain_json import to_plain

    points = to_plain(to_dict(streamed))["figures"]["alarm"]["curve"]
    assert any(point["median_seconds"] is None and point["missed_share"] > 0.5 for point in points)


def test_scores_of_a_video(tmp_path: Path, streamed: Evaluation, no_charts: None) -> None:
    write_evaluation(streamed, tmp_path)
    with (tmp_path / "scores/c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[3] == {
        "frame": "3", "seconds": "3.000", "score": "0.600000", "score_lookahead_1": "0.300000",
        "score_lookahead_all": "0.400000", "alarm": "1", "abnormal": "1",
    }  # fmt: skip
    offline = [scored("n", [0.5], stride=2), scored("x", [0.5, 0.7], "fire", stride=2, abnormal=None)]
    write_evaluation(evaluation(offline, streaming=False), tmp_path)
    assert (tmp_path / "scores/n.csv").read_text() == "frame,seconds,score,abnormal\n0,0.000,0.500000,0\n"
    assert (tmp_path / "scores/x.csv").read_text().splitlines()[2] == "2,1.000,0.700000"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["test/a.mp4"], ["scores/test/a.mp4.csv"]),
        (["a.mp4", "A.mp4"], ["scores/a.mp4.csv", "scores/A.mp4-2.csv"]),
        (["/etc/passwd", "../../x", "..\\y"], ["scores/etc/passwd.csv", "scores/x.csv", "scores/y.csv"]),
        (["a\nb:c*"], ["scores/a_b_c_.csv"]),
        (["é" * 300], [f"scores/{'é' * 100}.csv"]),
        (["x" + "𝄞" * 80], [f"scores/{'𝄞' * 50}.csv"]),  # 80 of them are 320 bytes, and no file system takes that
        ([os.fsdecode(b"\xdcber.mp4"), os.fsdecode(b"\xd6ber.mp4")], ["scores/_ber.mp4.csv", "scores/_ber.mp4-2.csv"]),
    ],
)
def test_video_names_become_paths_inside_the_folder(names: list[str], expected: list[str]) -> None:
    taken: set[str] = set()
    assert [folder._scores_name(name, taken) for name in names] == expected


def test_names_that_are_not_utf_8_are_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode(b"\xdcber.mp4")
    videos = [scored("n", [0.1]), scored(name, [0.2, 0.8], name, abnormal=[(1, 2)], warnings=(name,))]
    shown = evaluation(videos, streaming=False, skipped=((name, name),), notes=(name,))
    for module in (folder, page):  # they show no name; the timelines do
        monkeypatch.setattr(module, "charts_of", lambda evaluation: [])
    write_evaluation(shown, tmp_path, html=True)
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert found["videos"][1]["name"] == found["skipped"][0]["name"] == found["notes"][0] == "\\udcdcber.mp4"
    assert found["figures"]["classes"].keys() == {"\\udcdcber.mp4"}
    assert "<li>\\udcdcber.mp4: \\udcdcber.mp4</li>" in (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert (tmp_path / "scores/_ber.mp4.csv").is_file()


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("roc.png", "roc.png"),
        ("metrics.json.partial", "metrics.json.partial"),
        ("scores/deep/v.mp4.csv", "scores/deep/v.mp4.csv"),
        ("scores/deep/v.mp4.csv.partial", "scores/deep/v.mp4.csv.partial"),
        ("listed.mp4", "listed.mp4"),  # by the earlier evaluation, and would be removed
        ("../link.png", "roc.png"),
        (".", "out"),
    ],
)
def test_no_input_is_written_over(tmp_path: Path, given: str, written: str) -> None:
    out = tmp_path / "out"
    for name in ("roc.png", "metrics.json.partial", "scores/deep/v.mp4.csv", "scores/deep/v.mp4.csv.partial"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    (out / "listed.mp4").write_text("mine")
    (tmp_path / "link.png").symlink_to(out / "roc.png")
    (out / "metrics.json").write_text(json.dumps({"kind": folder.KIND, "files": ["listed.mp4"]}))
    with pytest.raises(UsageError, match=rf"the output .*{written} is .*the model "):
        check_out(out, [("data set", tmp_path / "data"), ("model", out / given)])
    check_out(
        out, [("data set", tmp_path / "data"), ("model", tmp_path / "best.safetensors"), ("video", out / "other.mp4")]
    )


def test_what_an_earlier_evaluation_had_more_is_removed(tmp_path: Path, streamed: Evaluation, no_charts: None) -> None:
    write_evaluation(streamed, tmp_path, html=True)
    (tmp_path / "notes.txt").write_text("mine")
    write_evaluation(evaluation(small_set()[:3]), tmp_path)
    assert set(tree(tmp_path)) == {
        "metrics.json", "timelines.png", "notes.txt", "scores/a.csv", "scores/b.csv", "scores/c.csv",
    }  # fmt: skip


def test_names_in_an_earlier_file_cannot_lead_outside(tmp_path: Path, streamed: Evaluation, no_charts: None) -> None:
    out = tmp_path / "out"
    write_evaluation(streamed, out)
    (tmp_path / "mine.txt").write_text("mine")
    edited = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    edited["files"] = ["../mine.txt", str(tmp_path / "mine.txt")]
    (out / "metrics.json").write_text(json.dumps(edited))
    write_evaluation(streamed, out)
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"kind": "other", "files": []}', '{"kind": 1}'])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    check_out(tmp_path / "free")
    check_out(tmp_path)
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UsageError, match="exists and is no evaluation"):
        check_out(tmp_path)
    with pytest.raises(UsageError, match=r"the output folder .* is a file"):
        check_out(tmp_path / "metrics.json")


def test_a_full_disk_leaves_the_earlier_evaluation(
    tmp_path: Path, streamed: Evaluation, no_charts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_evaluation(streamed, tmp_path)
    before = tree(tmp_path)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files, "_fsync", full)
    with pytest.raises(EnvironmentFailure, match="disk full"):
        write_evaluation(evaluation(small_set()[:2]), tmp_path)
    assert tree(tmp_path) == before
