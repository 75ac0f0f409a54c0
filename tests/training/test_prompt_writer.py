from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.training.chat_server import ChatServer
from stprompt_edge.training.prompt_writer import ANY_SCENE, PromptSettings, to_toml, write_vocabulary
from stprompt_edge.vocabulary import Vocabulary, VocabularyClass, load_vocabulary
from tests.training.chat import Reply, Server, lists, reply, says, serving

ROOT = Path(__file__).resolve().parents[2]
CHAT, MODELS = "/v1/chat/completions", "/v1/models"
FIGHT, CRASH, NORMAL = ["people fighting", "a man hit"], ["crashed cars", "People Fighting"], ["a road", "a-man-hit"]
ANSWERS = [says(json.dumps(phrases)) for phrases in (FIGHT, CRASH, NORMAL)]


def write(server: Server, out: Path, model: str = "m", **settings: object) -> Vocabulary:
    classes = ("Fighting", "Road accident")
    return write_vocabulary(
        ChatServer(url=server.url), model, PromptSettings(**{"classes": classes, "out": out, **settings})
    )


def test_writes_what_the_model_says_once_each(tmp_path: Path) -> None:
    told = []
    with serving({CHAT: ANSWERS}) as server:
        settings = PromptSettings(classes=("Fighting", "Road accident"), out=tmp_path / "station.toml")
        vocabulary = write_vocabulary(
            ChatServer(url=server.url), "m", settings, lambda what, done: told.append((what, done))
        )
    assert vocabulary == load_vocabulary(tmp_path / "station.toml")
    assert vocabulary.name == "station"
    assert [(c.name, c.phrases) for c in vocabulary.classes] == [
        ("Fighting", ("people fighting", "a man hit")),
        ("Road accident", ("crashed cars",)),
    ]
    assert vocabulary.normal_phrases == ("a road",)
    assert [done for _, done in told] == [0, 1 / 3, 2 / 3, 1]
    assert (tmp_path / "station.toml").read_text().startswith("# Phrases by the language model m. Edit them")
    questions = [body["messages"][-1]["content"] for _, body, _ in server.asked]
    assert all(ANY_SCENE in question for question in questions)
    assert "happens: Fighting?" in questions[0]
    assert "Give 4 different" in questions[0]
    assert "None may describe: Fighting; Road accident." in questions[2]
    assert os.listdir(tmp_path) == ["station.toml"]


def test_count_name_and_scene(tmp_path: Path) -> None:
    with serving({CHAT: ANSWERS}) as server:
        vocabulary = write(server, tmp_path / "v.toml", name="my place", count=1, normal_scene="a railway station")
    assert vocabulary.name == "my place"
    assert [len(c.phrases) for c in vocabulary.classes] == [1, 1]
    assert all("a railway station" in body["messages"][1]["content"] for _, body, _ in server.asked)


@pytest.mark.parametrize("useless", ["", None, "I cannot help with that.", '["fighting"]', '["Road Accident"]'])
def test_asks_once_more(tmp_path: Path, useless: str | None) -> None:
    with serving({CHAT: [says(useless), *ANSWERS]}) as server:
        write(server, tmp_path / "v.toml")
    assert len(server.asked) == 4
    second = server.asked[1][1]["messages"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"] == (useless or "(nothing)")


def test_gives_up_after_the_second(tmp_path: Path) -> None:
    with (
        serving({CHAT: says("No,\x1b[31m\n never!")}) as server,
        pytest.raises(
            EnvironmentFailure, match=r"model 'm' gives no usable phrase for Fighting; it says: No,.* never!\n"
        ),
    ):
        write(server, tmp_path / "v.toml")
    assert len(server.asked) == 2
    assert os.listdir(tmp_path) == []


def test_a_failure_in_the_middle_writes_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    old = tmp_path / "v.toml"
    old.write_text("mine")
    with serving({CHAT: [ANSWERS[0], reply({"error": "gone"}, 500)]}) as server, pytest.raises(EnvironmentFailure):
        write(server, old, force=True)
    assert os.listdir(tmp_path) == ["v.toml"]
    assert old.read_text() == "mine"
    with serving({CHAT: ANSWERS}) as server:
        write(server, old, force=True)
    assert load_vocabulary(old).name == "v"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ()}, "classes is empty"),
        ({"classes": ("Fire", "fire")}, "class name 'fire' appears twice"),
        ({"classes": ("Normal",)}, "is named 'normal'"),
        ({"classes": ("",)}, "text is empty or not printable"),
        ({"classes": ("x" * 300,)}, "text has 300 characters"),
        ({"name": "a\nb"}, "prompts: name: text is empty or not printable"),
        ({"out": Path("here.toml")}, r"here.toml exists, and you may have edited it\n.*--force"),
        ({"out": Path("."), "force": True}, "is a folder"),
        ({"out": Path("no/v.toml")}, "cannot be made: its folder does not exist"),
    ],
)
def test_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.toml").write_text("")
    with pytest.raises(UsageError, match=message):
        PromptSettings(**{"classes": ("Fire",), "out": Path("v.toml"), **settings})


@pytest.mark.parametrize(
    "text", ['say "hi"', "back\\slash", "naïve café 日本", "#no comment", "[x] = 'y'", "\U0001f525 fire"]
)
def test_any_text_survives_the_file(tmp_path: Path, text: str) -> None:
    classes = (VocabularyClass(name=f"{text} 1", phrases=(f"{text} 2",)), VocabularyClass(name="bare"))
    vocabulary = Vocabulary(name=text, classes=classes, normal_phrases=(f"{text} 3",))
    path = tmp_path / "v.toml"
    path.write_text(to_toml(vocabulary, 'm\nname = "evil"'), encoding="utf-8")
    assert load_vocabulary(path) == vocabulary


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stprompt_edge", "prompts", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("replies", "code", "message"),
    [
        ({MODELS: lists("tiny"), CHAT: ANSWERS}, 0, "wrote vocabulary.toml: 3 phrases for 2 classes, 1 normal"),
        ({MODELS: reply({"error": "bad key"}, 401)}, 2, "error: .* answers 401 Unauthorized: bad key"),
    ],
)
def test_command(tmp_path: Path, replies: dict[str, Reply], code: int, message: str) -> None:
    with serving(replies) as server:
        done = run("Fighting", "Road accident", "--url", server.url, cwd=tmp_path, OPENAI_API_KEY="k-1")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert all(headers["Authorization"] == "Bearer k-1" for _, _, headers in server.asked)
    assert (tmp_path / "vocabulary.toml").exists() == (code == 0)


@pytest.mark.parametrize(
    ("name", "title"), [(b"v\xe9.toml", "v\\udce9"), ("\u65e5\u672c.toml".encode(), "\u65e5\u672c")]
)
def test_a_file_of_any_name(tmp_path: Path, name: bytes, title: str) -> None:
    assert PromptSettings(classes=("Fire",), out=tmp_path / os.fsdecode(name)).title == title
