from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.training.phrases import distinct_phrases, read_phrases, taken_by_names
from stprompt_edge.vocabulary import MAX_TEXT_LENGTH, folded, vocabulary_from_dict

AB = ["people fighting", "a man on the ground"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        ("I'm sorry, I can't help with that.", []),
        ("People fighting\nA man on the ground", []),  # prose as likely as phrases
        (json.dumps(AB), AB),
        (f"Sure [as asked]! Here:\n```json\n{json.dumps(AB, indent=2)}\n```\nAnything else?", AB),
        (json.dumps({"event": "Fighting", "phrases": AB}), AB),
        (json.dumps([{"phrase": text} for text in AB]), AB),
        (json.dumps({"1": AB[0], "2": AB[1]}), AB),
        (json.dumps({"normal": AB[:1], "other": AB[1:]}), AB),
        (json.dumps([1, 2]) + json.dumps(AB), AB),
        ("[]", []),
        ("[1, null, true]", []),
        (f'<think>["not this"] or that?</think>\n{json.dumps(AB)}', AB),
        (f'not this: ["x"]</think>{json.dumps(AB)}', AB),
        ("1. people fighting\n2. a man on the ground", AB),
        ('Here they are:\n\n 1) **people fighting**\n 2) "a man on the ground."\nGood luck!', AB),
        ("(1) people fighting\n(2) a man on the ground", AB),
        ("- people fighting\n* a man on the ground,", AB),
        ("• people fighting\r\n– a man on the ground", AB),
        ('["people fighting",\n "a man on the ground",\n "cut o', AB),
        ('["people fighting", "a man on the ground", "bad \\u12", "cut', AB),
        ('["1. people fighting", "  a  man\\non the ground "]', AB),
        ('["people fighting", "", "  ", "123", "-", "tab\\u0000bed", "a man on the ground"]', AB),
        (json.dumps(["x" * MAX_TEXT_LENGTH, "x" * (MAX_TEXT_LENGTH + 1)]), ["x" * MAX_TEXT_LENGTH]),
        ("[" * 100_000, []),
        ("[{" * 100_000, []),
        ("[1," * 100_000, []),
    ],
)
def test_answers(answer: str, expected: list[str]) -> None:
    assert read_phrases(answer) == expected


def test_phrases_that_say_nothing_new() -> None:
    taken = taken_by_names(["Road accident", "fire"])
    phrases = ["road-accident", "a scene of fire", "Normal", "two cars", "Two  Cars", "smoke", "flames", "sparks"]
    assert distinct_phrases(phrases, taken, 2) == ("two cars", "smoke")
    assert distinct_phrases(["smoke", "flames"], taken, 2) == ("flames",)


@given(st.lists(st.text(max_size=MAX_TEXT_LENGTH + 5), max_size=8), st.sampled_from(["json", "indented", "cut"]))
def test_any_list_of_texts(texts: list[str], form: str) -> None:
    answer = json.dumps(texts, indent=1 if form == "indented" else None)
    found = read_phrases(answer[: len(answer) // 2] if form == "cut" else answer)
    assert len(found) <= len(texts)
    for phrase in found:
        assert any(folded(phrase) in folded(text) for text in texts) or form == "cut"


@given(st.text() | st.text(alphabet='[]{}",:\\ \n-1.a</think>', max_size=300))
def test_whatever_a_model_says_the_vocabulary_takes_it(answer: str) -> None:
    phrases = distinct_phrases(read_phrases(answer), taken_by_names(["fighting"]), 20)
    table = {"name": "x", "normal_phrases": ["zzz zzz"], "classes": [{"name": "fighting", "phrases": list(phrases)}]}
    assert vocabulary_from_dict(table).classes[0].phrases == phrases
