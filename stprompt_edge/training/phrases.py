"""What a language model answered -> phrases that a vocabulary takes.

A JSON list is asked for; models also wrap it in prose or code fences, think aloud before it, cut it off, or write
numbered or bulleted lines. Anything else yields nothing, rather than prose taken for phrases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from stprompt_edge.vocabulary import CLASS_PHRASE_TEMPLATE, MAX_TEXT_LENGTH, NORMAL_CLASS, folded

MAX_ANSWER_CHARACTERS = 100_000  # more is no list of phrases
_MAX_JSON_STARTS = 50  # brackets in prose before the list
_BULLET = re.compile(r"\s*(?:[-*+•‣–—]|\(?\d{1,3}[.):])\s+(?=\S)(.*)")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_WRAPPING = " \t*_`\"'“”‘’«».,;:"


def read_phrases(answer: str) -> list[str]:
    """The phrases in an answer, in order; empty when there is none that can be told from prose.

    >>> read_phrases('Sure! ["people fighting", "a man hitting a man"]')
    ['people fighting', 'a man hitting a man']
    >>> read_phrases("1. people fighting\\n2) a man hitting a man")
    ['people fighting', 'a man hitting a man']
    """
    text = _without_thoughts(answer)[:MAX_ANSWER_CHARACTERS]
    found = _from_json(text) or _from_lines(text) or _from_cut_list(text)
    return [phrase for phrase in map(_tidied, found) if _is_phrase(phrase)]


def distinct_phrases(phrases: Iterable[str], taken: set[str], count: int) -> tuple[str, ...]:
    """The first `count` phrases that say something new.

    Args:
        phrases: from `read_phrases`.
        taken: folded texts that the vocabulary has elsewhere; the chosen ones are added.
        count: at most.
    """
    chosen: list[str] = []
    for phrase in phrases:
        if len(chosen) < count and folded(phrase) not in taken:
            taken.add(folded(phrase))
            chosen.append(phrase)
    return tuple(chosen)


def taken_by_names(names: Iterable[str]) -> set[str]:
    """Folded texts that no phrase may repeat: class names, and the phrases that the vocabulary makes of them."""
    every = (NORMAL_CLASS, *names)
    return {folded(text) for name in every for text in (name, CLASS_PHRASE_TEMPLATE.format(name))}


def _without_thoughts(answer: str) -> str:
    """What a reasoning model says after it has thought; some servers leave the opening tag out."""
    return answer.rpartition("</think>")[2]


def _from_json(text: str) -> list[str]:
    """The strings of the first JSON value in the text that holds any."""
    decoder = json.JSONDecoder()
    position, starts = 0, 0
    while starts < _MAX_JSON_STARTS and (match := re.compile(r"[\[{]").search(text, position)):
        starts += 1
        try:
            value, position = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            position = match.start() + 1
            continue
        strings = list(_strings(value))
        if strings:
            return strings
    return []


def _strings(value: Any) -> Iterator[str]:
    """All strings of lists; of a table its lists alone if it has any, since the rest then names what was asked."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
    elif isinstance(value, dict):
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        for entry in lists or value.values():
            yield from _strings(entry)


def _from_lines(text: str) -> list[str]:
    """What stands behind numbers and bullets."""
    return [match[1] for line in text.splitlines() if (match := _BULLET.match(line))]


def _from_cut_list(text: str) -> list[str]:
    """The whole strings of a JSON list whose end is missing."""
    _, bracket, rest = text.partition("[")
    if not bracket or not rest.lstrip().startswith('"'):
        return []
    strings = []
    for match in _STRING.finditer(rest):
        try:
            strings.append(json.loads(match[0]))
        except ValueError:  # an escape that is none
            continue
    return strings


def _tidied(phrase: str) -> str:
    """One line without numbering, quotes, emphasis and closing punctuation."""
    text = " ".join(phrase.split())
    bullet = _BULLET.match(text)
    return (bullet[1] if bullet else text).strip(_WRAPPING)


def _is_phrase(text: str) -> bool:
    return text.isprintable() and len(text) <= MAX_TEXT_LENGTH and any(c.isalpha() for c in text)
