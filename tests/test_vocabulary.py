"""Vocabularies: what ships, what the parser takes, and that it refuses everything else with one clear message."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import (
    EDITING,
    Vocabulary,
    load_vocabulary,
    shipped_vocabularies,
    vocabulary_from_dict,
    vocabulary_to_dict,
    vocabulary_to_toml,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SMALL: dict[str, Any] = {
    "name": "site",
    "normal_phrases": ["an empty yard"],
    "classes": [{"name": "fire", "phrases": ["flames"]}, {"name": "road accident", "label": "RoadAccidents"}],
}


def changed(**changes: Any) -> dict[str, Any]:
    data = copy.deepcopy(SMALL)
    data.update(changes)
    return data


@pytest.mark.parametrize(
    ("name", "class_count", "first", "last"),
    [
        ("ucf-crime", 13, "abuse", "vandalism"),
        ("shanghaitech", 11, "car", "vaudeville"),
        ("ubnormal", 22, "running", "jumping"),
        ("scenes", 8, "fighting", "running"),
        ("xd-violence", 6, "fighting", "explosion"),
    ],
)
def test_shipped_vocabularies(name: str, class_count: int, first: str, last: str) -> None:
    vocabulary = load_vocabulary(name)
    assert vocabulary.name == name
    assert vocabulary.class_names[0] == "normal"
    assert vocabulary.class_names[1] == first
    assert vocabulary.class_names[-1] == last
    assert len(vocabulary.class_names) == 1 + class_count
    assert len(vocabulary.normal_phrases) == 13
    assert all(2 <= len(c.phrases) <= 4 for c in vocabulary.classes)
    assert vocabulary_from_dict(vocabulary_to_dict(vocabulary)) == vocabulary


def test_every_shipped_file_is_tested() -> None:
    binary = ("ped2", "shanghaitech-binary", "ubnormal-binary")
    rest = ("scenes", "shanghaitech", "ubnormal", "ucf-crime", "xd-violence")
    assert shipped_vocabularies() == tuple(sorted((*binary, *rest)))


def test_binary_vocabularies_have_one_class_and_all_phrases() -> None:
    assert load_vocabulary("ped2").class_names == ("normal", "abnormal")
    for name in ("shanghaitech", "ubnormal"):
        binary, named = load_vocabulary(f"{name}-binary"), load_vocabulary(name)
        assert binary.class_names == ("normal", "abnormal")
        assert binary.normal_phrases == named.normal_phrases
        assert binary.classes[0].phrases == tuple(phrase for c in named.classes for phrase in c.phrases)


def test_phrases_come_class_by_class_and_start_with_the_name() -> None:
    vocabulary = vocabulary_from_dict(SMALL)
    assert vocabulary.abnormal_phrases == ("a scene of fire", "flames", "a scene of road accident")
    assert vocabulary.abnormal_phrase_classes == (1, 1, 2)


@pytest.mark.parametrize(
    ("label", "row"),
    [("RoadAccidents", 2), ("road_accident", 2), ("Road Accident", 2), ("FIRE", 1), ("Normal", 0)],
)
def test_row_of_label(label: str, row: int) -> None:
    assert vocabulary_from_dict(SMALL).row_of_label(label) == row


def test_texts_are_composed_and_may_have_joiners() -> None:
    data = changed(classes=[{"name": "e\u0301meute"}, {"name": "\u0622\u062a\u0634\u200c\u0633\u0648\u0632\u06cc"}])
    vocabulary = vocabulary_from_dict(data)
    assert vocabulary.class_names[1:] == ("\u00e9meute", "\u0622\u062a\u0634\u200c\u0633\u0648\u0632\u06cc")
    assert vocabulary.row_of_label("E\u0301meute") == vocabulary.row_of_label("\u00c9meute") == 1
    with pytest.raises(UsageError, match="class name '\u00e9meute' appears twice"):
        vocabulary_from_dict(changed(classes=[{"name": "\u00e9meute"}, {"name": "e\u0301meute"}]))
    with pytest.raises(UsageError, match="empty or not printable"):
        vocabulary_from_dict(changed(name="\u200d"))


def test_row_of_unknown_label_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no class 'RoadAcident'") as caught:
        vocabulary_from_dict(SMALL).row_of_label("RoadAcident")
    assert "did you mean 'RoadAccidents'?" in caught.value.remedy


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no vocabulary is named 'ucf-crim'") as caught:
        load_vocabulary("ucf-crim")
    assert "did you mean 'ucf-crime'?" in caught.value.remedy


def test_load_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nnormal_phrases = ["a yard"]\n[[classes]]\nname = "fire"\n', encoding="utf-8")
    assert load_vocabulary(path).class_names == ("normal", "fire")
    assert load_vocabulary(str(path)) == load_vocabulary(path)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "mine"\nnormal_phrases = ["a yard"]\nclasses = [{ name = "fire" }]\n')
    assert load_vocabulary(path).class_names == ("normal", "fire")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'name = "x"\nnormal_phrases = [\n', r"mine.toml: not valid TOML: .*"),
        (b'name = "x"\nclasses = oops\n', "line 2"),
        (b"\xff\xfe", "cannot be read"),
        (b"x = " + b"[" * 100_000, "not valid TOML"),
        (b"x = " + b"9" * 100_000, "not valid TOML"),
        (b"", "key 'name' is missing"),
        (b'nme = "x"\n', "mine.toml, line 1: unknown key 'nme'"),
        (b'name = "x"\n# \xff\n', "line 2 is not UTF-8"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=match):
        load_vocabulary(path)


@pytest.mark.parametrize(
    ("path", "match"),
    [("no/such.toml", "does not exist"), ("such.toml", "does not exist"), ("a\0b.toml", "cannot be read")],
)
def test_a_file_that_cannot_be_opened(path: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        load_vocabulary(path)


def test_a_folder_is_not_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (None, "got NoneType, expected a table"),
        ([], "got a list, expected a table"),
        ({}, "key 'name' is missing"),
        (changed(clases=[]), "unknown key 'clases'\n  fix: did you mean 'classes'"),
        ({1: 2}, "unknown key '1'"),
        (changed(name=3), "name: got a number, expected text"),
        (changed(name="  "), "name: text is empty"),
        (changed(name="a\nb"), "name: text is empty or not printable"),
        (changed(name="x" * 201), "name: text has 201 characters"),
        (changed(classes="fire"), "classes: got text, expected a list"),
        (changed(classes=[]), "classes is empty"),
        (changed(classes=["fire"]), r"classes\[0\]: got text, expected a table"),
        (changed(classes=[{"nam": "fire"}]), r"classes\[0\]: unknown key 'nam'\n  fix: did you mean 'name'"),
        (changed(classes=[{"phrases": []}]), r"classes\[0\]: key 'name' is missing"),
        (changed(classes=[{"name": "fire", "label": ""}]), r"classes\[0\].label: text is empty"),
        (changed(classes=[{"name": "fire", "phrases": "x"}]), r"classes\[0\].phrases: got text, expected a list"),
        (changed(classes=[{"name": "fire", "phrases": [True]}]), r"phrases\[0\]: got true/false, expected text"),
        (changed(classes=[{"name": "fire", "phrases": ["a", "A"]}]), r"phrases: phrase 'A' appears twice"),
        (changed(classes=[{"name": "Normal"}]), "is named 'normal'"),
        (changed(classes=[{"name": "fine", "label": "NORMAL"}]), "is named 'normal'"),
        (changed(classes=[{"name": "fire"}, {"name": "Fire"}]), "class name 'Fire' appears twice"),
        (changed(classes=[{"name": "a", "label": "X"}, {"name": "b", "label": "x"}]), "class label 'x' appears twice"),
        (
            changed(classes=[{"name": "a", "label": "b"}, {"name": "b", "label": "c"}]),
            "label 'b' of 'a' is the name of another class",
        ),
        (changed(normal_phrases=[]), "normal_phrases is empty"),
        (changed(normal_phrases=["Flames"]), "phrase 'Flames' appears twice"),
    ],
)
def test_what_does_not_fit_is_refused(data: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        vocabulary_from_dict(data)
    assert caught.value.remedy


HEAD = 'name = "x"\nnormal_phrases = ["a yard"]\n'


@pytest.mark.parametrize(
    ("text", "line", "match"),
    [
        ('# mine\n\nnme = "x"\n', 3, "unknown key 'nme'"),
        (HEAD + '\n[[classes]]\nname = "fire"\n\n[[classes]]\nnam = "b"\n', 8, r"classes\[1\]: unknown key 'nam'"),
        (HEAD + '[[classes]]\nname = "fire"\n[[classes]]\nphrases = []\n', 5, r"classes\[1\]: key 'name' is missing"),
        (HEAD + '[[classes]]\nname = "f"\nphrases = [\n  "a",\n  "",\n  "b",\n]\n', 7, r"phrases\[1\]: text is empty"),
        (HEAD + '[[classes]]\nname = "fire"\nphrases = [\n  "a",\n  "A",\n]\n', 7, "phrase 'A' appears twice"),
        (HEAD + '[[classes]]\nname = "fire"\nphrases = [\n  3,\n]\n', 6, "got a number, expected text"),
        (HEAD + '[[classes]]\nname = "fire"\n[[classes]]\nname = "FIRE"\n', 6, "class name 'FIRE' appears twice"),
        ('classes = [\n{name = "f"},\n{nam = "b"},\n]\nname = "x"\nnormal_phrases = ["y"]\n', 3, "unknown key 'nam'"),
        ('name = "x"\nnormal_phrases = ["flames"]\n[[classes]]\nname = "f"\nphrases = [\n"a",\n"Flames",\n]\n', 7,
         "'flames' appears twice"),
        (HEAD + "classes = []\n", 3, "classes is empty"),
        ('normal_phrases = ["y"]\nname = """\nx\ny"""\nclasses = [{name = "f"}]\n', 4, "name: text is empty or not"),
    ],
)  # fmt: skip
def test_a_problem_has_its_line(tmp_path: Path, text: str, line: int, match: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"mine.toml, line {line}: .*{match}"):
        load_vocabulary(path)


@pytest.mark.parametrize("text", ["", 'name = "x"\n', "name = 3\n" + "# more\n" * 2000])
def test_what_is_missing_has_no_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine.toml: key '\w+' is missing"):
        load_vocabulary(path)


@pytest.mark.parametrize("name", shipped_vocabularies())
def test_a_vocabulary_that_is_shown_loads_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(vocabulary_to_toml(load_vocabulary(name), EDITING), encoding="utf-8")
    assert load_vocabulary(path) == load_vocabulary(name)


@pytest.mark.parametrize(
    ("label", "suggested"),
    [
        ("fires", "fires (did you mean 'fire'?)"),
        ("ROAD", "ROAD (did you mean 'RoadAccidents'?)"),
        ("norml", "norml (did you mean 'normal'?)"),
        ("xyz", "xyz"),
        ("abnormal", "abnormal"),
    ],
)
def test_a_label_with_the_class_that_was_meant(label: str, suggested: str) -> None:
    assert vocabulary_from_dict(SMALL).with_suggestion(label) == suggested


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
class_like = st.fixed_dictionaries(
    {"name": st.text(max_size=8) | json_like},
    optional={"label": st.text(max_size=8), "phrases": st.lists(st.text(max_size=8), max_size=3) | json_like},
)
vocabulary_like = st.fixed_dictionaries(
    {
        "name": st.text(max_size=8) | json_like,
        "normal_phrases": st.lists(st.text(max_size=8), max_size=3) | json_like,
        "classes": st.lists(class_like, max_size=3) | json_like,
    }
)


@given(json_like | vocabulary_like)
def test_any_data_gives_a_vocabulary_or_a_usage_error(data: Any) -> None:
    try:
        vocabulary = vocabulary_from_dict(data)
    except UsageError:
        return
    assert isinstance(vocabulary, Vocabulary)
    assert vocabulary_from_dict(vocabulary_to_dict(vocabulary)) == vocabulary
    assert vocabulary_from_dict(tomllib.loads(vocabulary_to_toml(vocabulary))) == vocabulary
    for row, c in enumerate(vocabulary.classes, start=1):
        assert vocabulary.row_of_label(c.dataset_label) == vocabulary.row_of_label(c.name) == row
