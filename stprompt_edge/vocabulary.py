"""Vocabularies: the class names of a data set, and the phrases that localization compares windows with.

A vocabulary is one small TOML file for people to edit:

    name = "station"
    normal_phrases = ["people waiting on a platform", "an empty platform"]

    [[classes]]
    name = "fighting"                          # the text that prompts are made of
    label = "Fighting"                         # the data set's own label, when it differs from the name
    phrases = ["people punching each other"]   # further wordings, may be left out

Only abnormal classes are listed: `normal` is always row 0 and implied. The same structure, as a dict, travels in the
bundle's manifest and passes the same validation.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from stprompt_edge.errors import UsageError, closest, folded, nearest
from stprompt_edge.listing import is_data

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10, as on JetPack 6
    import tomli as tomllib

NORMAL_CLASS = "normal"  # row 0 of every label matrix
CLASS_PHRASE_TEMPLATE = "a scene of {}"  # how a bare class name becomes a phrase beside the written ones
MAX_TEXT_LENGTH = 200  # characters; CLIP reads 77 tokens and would cut the rest off silently

EDITING = (  # for the head of a file that is shown to be edited
    "A vocabulary of stprompt-edge. Save it, edit it, then: stprompt-edge vocabulary check FILE",
    "`normal` is implied. `phrases` may be left out. `label` of a class is its name in your data set, where that",
    'differs: label = "RoadAccidents".',
)
_JOINERS = dict.fromkeys((0x200C, 0x200D))  # zero width non-joiner and joiner, to be left out

_VOCABULARY_KEYS = ("name", "normal_phrases", "classes")
_CLASS_KEYS = ("name", "label", "phrases")
_REQUIRED = ("name", "normal_phrases", "classes")
_SOUND: dict[str, Any] = {"name": "?", "normal_phrases": ["? 1"], "classes": [{"name": "? 2"}]}  # and in no file
_MAX_LINES = 1000  # of a file whose problem is given a line: finding it takes the square of them


@dataclass(frozen=True, kw_only=True)
class VocabularyClass:
    """One abnormal class. `label` is empty where the data set's label is the name itself."""

    name: str  # readable text: prompts and reports are made of it
    label: str = ""  # the data set's own code, e.g. "RoadAccidents"
    phrases: tuple[str, ...] = ()  # further wordings of the same event

    @property
    def dataset_label(self) -> str:
        """The label that annotation files use."""
        return self.label or self.name

    @property
    def all_phrases(self) -> tuple[str, ...]:
        """The name in the template, then the written phrases."""
        return (CLASS_PHRASE_TEMPLATE.format(self.name), *self.phrases)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Class names and phrases. `load_vocabulary` and `vocabulary_from_dict` validate and build it."""

    name: str
    classes: tuple[VocabularyClass, ...]  # abnormal only, in label order
    normal_phrases: tuple[str, ...] = field(repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """[1+C] names, `normal` first: the order of every label matrix."""
        return (NORMAL_CLASS, *(c.name for c in self.classes))

    @property
    def abnormal_phrases(self) -> tuple[str, ...]:
        """Every abnormal phrase, class by class in label order; each class starts with its name in the template."""
        return tuple(phrase for c in self.classes for phrase in c.all_phrases)

    @property
    def abnormal_phrase_classes(self) -> tuple[int, ...]:
        """For each of `abnormal_phrases`, the row of its class in `class_names` (1..C)."""
        return tuple(row for row, c in enumerate(self.classes, start=1) for _ in c.all_phrases)

    def row_of_label(self, label: str) -> int:
        """Row in `class_names` of a data set's label or of a class name; case, spaces, `-` and `_` do not count.

        Raises:
            UsageError: no class has that label.
        """
        rows = {folded(NORMAL_CLASS): 0}
        for row, c in enumerate(self.classes, start=1):
            rows[folded(c.name)] = rows[folded(c.dataset_label)] = row
        if folded(label) not in rows:
            known = (NORMAL_CLASS, *(c.dataset_label for c in self.classes))
            raise UsageError(f"vocabulary '{self.name}' has no class '{label}'", remedy=nearest(label, known))
        return rows[folded(label)]

    def with_suggestion(self, label: str) -> str:
        """A label that no class has, for a message, with the class that was probably meant."""
        meant = [c.dataset_label for c in self.classes]
        meant += [NORMAL_CLASS] if folded(label).startswith(NORMAL_CLASS[:3]) else []  # `abnormal` is its contrary
        close = closest(label, meant)
        return f"{label} (did you mean '{close}'?)" if close else label


def shipped_vocabularies() -> tuple[str, ...]:
    """Names of the vocabularies in the package, sorted."""
    folder = resources.files("stprompt_edge").joinpath("vocabularies")
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if is_data(f.name) and f.name.endswith(".toml"))
    )


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """Load a shipped vocabulary by name, or any TOML file by path.

    A `Path`, and a string that ends in `.toml` or has a folder in it, is a path; anything else is a name.

    Raises:
        UsageError: no such vocabulary or file, unreadable file, malformed TOML, or content that does not fit.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return _parse_vocabulary(_read_text(Path(text)), text)
    if text not in shipped_vocabularies():
        remedy = f"{nearest(text, shipped_vocabularies())}; or give the path of a .toml file"
        raise UsageError(f"no vocabulary is named '{text}'", remedy=remedy)
    shipped = resources.files("stprompt_edge").joinpath("vocabularies").joinpath(f"{text}.toml")
    return _parse_vocabulary(shipped.read_text(encoding="utf-8"), f"{text}.toml")


def vocabulary_to_dict(vocabulary: Vocabulary) -> dict[str, Any]:
    """The TOML structure as plain dicts, lists and strings, for the bundle's manifest."""
    classes = []
    for c in vocabulary.classes:
        entry: dict[str, Any] = {"name": c.name}
        if c.label:
            entry["label"] = c.label
        if c.phrases:
            entry["phrases"] = list(c.phrases)
        classes.append(entry)
    return {"name": vocabulary.name, "normal_phrases": list(vocabulary.normal_phrases), "classes": classes}


def vocabulary_to_toml(vocabulary: Vocabulary, comments: Sequence[str] = ()) -> str:
    """The file, to be edited: `load_vocabulary` gives the same vocabulary back.

    Args:
        vocabulary: what to write.
        comments: lines for its head, printable.
    """
    lines = [f"# {comment}" for comment in comments]
    lines += [f"name = {_quoted(vocabulary.name)}", "", *_toml_list("normal_phrases", vocabulary.normal_phrases)]
    for c in vocabulary.classes:
        lines += ["", "[[classes]]", f"name = {_quoted(c.name)}"]
        lines += [f"label = {_quoted(c.label)}"] if c.label else []
        lines += _toml_list("phrases", c.phrases) if c.phrases else []
    return "\n".join(lines) + "\n"


def _toml_list(key: str, texts: Sequence[str]) -> list[str]:
    return [f"{key} = [", *(f"  {_quoted(text)}," for text in texts), "]"]


def _quoted(text: str) -> str:
    """A basic string of TOML; for printable text its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def vocabulary_from_dict(data: Any, *, where: str = "vocabulary") -> Vocabulary:
    """Validate the TOML structure and build the vocabulary. Inverse of `vocabulary_to_dict`.

    Args:
        data: a mapping with `name`, `normal_phrases` and `classes`; anything else is refused.
        where: file or manifest that the data came from, for messages.

    Raises:
        UsageError: unknown or missing key, wrong type, empty or overlong text, duplicates, no class.
    """
    table = _checked_table(data, _VOCABULARY_KEYS, _REQUIRED, where)
    entries = _checked_list(table["classes"], f"{where}: classes")
    if not entries:
        raise UsageError(f"{where}: classes is empty", remedy='add at least one [[classes]] table with name = "..."')
    classes = tuple(_class_from_dict(e, f"{where}: classes[{i}]") for i, e in enumerate(entries))
    _check_class_names(classes, where)
    normal_phrases = _checked_phrases(table["normal_phrases"], f"{where}: normal_phrases")
    if not normal_phrases:
        remedy = "list what a normal scene shows: localization weighs abnormal phrases against these"
        raise UsageError(f"{where}: normal_phrases is empty", remedy=remedy)
    name = _checked_text(table["name"], f"{where}: name")
    vocabulary = Vocabulary(name=name, classes=classes, normal_phrases=normal_phrases)
    _check_unique((*vocabulary.abnormal_phrases, *normal_phrases), f"{where}: phrase", "keep it in one place only")
    return vocabulary


def _class_from_dict(data: Any, where: str) -> VocabularyClass:
    table = _checked_table(data, _CLASS_KEYS, ("name",), where)
    label = table.get("label")
    return VocabularyClass(
        name=_checked_text(table["name"], f"{where}.name"),
        label="" if label is None else _checked_text(label, f"{where}.label"),
        phrases=_checked_phrases(table.get("phrases", ()), f"{where}.phrases"),
    )


def _check_class_names(classes: tuple[VocabularyClass, ...], where: str) -> None:
    """`normal` is implied, and neither a name nor a label may mean two classes."""
    for i, c in enumerate(classes):
        if NORMAL_CLASS in (folded(c.name), folded(c.label)):
            remedy = "remove it: 'normal' is always row 0; describe it in normal_phrases"
            raise UsageError(f"{where}: classes[{i}] is named 'normal'", remedy=remedy)
    _check_unique(tuple(c.name for c in classes), f"{where}: class name", "give each class its own name")
    _check_unique(tuple(c.dataset_label for c in classes), f"{where}: class label", "give each class its own label")
    owner = {folded(c.name): c for c in classes}
    for c in classes:
        other = owner.get(folded(c.dataset_label), c)
        if other is not c:
            remedy = "give each class its own label"
            raise UsageError(f"{where}: label '{c.label}' of '{c.name}' is the name of another class", remedy=remedy)


def _check_unique(texts: tuple[str, ...], where: str, remedy: str) -> None:
    seen: set[str] = set()
    for text in texts:
        if folded(text) in seen:
            raise UsageError(f"{where} '{text}' appears twice", remedy=remedy)
        seen.add(folded(text))


def _checked_table(data: Any, known: tuple[str, ...], required: tuple[str, ...], where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise UsageError(f"{where}: got {_type_name(data)}, expected a table", remedy=f"keys: {', '.join(known)}")
    for key in data:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{key}'", remedy=nearest(str(key), known))
    for key in required:
        if key not in data:
            raise UsageError(f"{where}: key '{key}' is missing", remedy=f"add it; required: {', '.join(required)}")
    return data


def _checked_list(value: Any, where: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"{where}: got {_type_name(value)}, expected a list", remedy="write it in square brackets")
    return value


def _checked_phrases(value: Any, where: str) -> tuple[str, ...]:
    phrases = tuple(_checked_text(p, f"{where}[{i}]") for i, p in enumerate(_checked_list(value, where)))
    _check_unique(phrases, f"{where}: phrase", "remove one of the two")
    return phrases


def _checked_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where}: got {_type_name(value)}, expected text", remedy="write it in quotes")
    text = normalized(value)
    if not is_writing(text):
        raise UsageError(f"{where}: text is empty or not printable", remedy="write a short phrase on one line")
    if len(text) > MAX_TEXT_LENGTH:
        remedy = f"at most {MAX_TEXT_LENGTH}: the text encoder cuts off what is longer"
        raise UsageError(f"{where}: text has {len(text)} characters", remedy=remedy)
    return text


def normalized(text: str) -> str:
    """Stripped, and in Unicode's composed form: folders copied from a Mac have `é` as two characters."""
    return unicodedata.normalize("NFC", text.strip())


def is_writing(text: str) -> bool:
    """Not empty, on one line and printable, with the joiners that Persian and Hindi write inside words."""
    visible = text.translate(_JOINERS)
    return bool(visible) and visible.isprintable()


def _type_name(value: Any) -> str:
    names = {dict: "a table", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _parse_vocabulary(text: str, where: str) -> Vocabulary:
    try:
        data = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as exc:  # TOMLDecodeError names line and column; numbers too long, nests too deep
        raise UsageError(f"{where}: not valid TOML: {exc}", remedy="correct that line; texts go in quotes") from exc
    try:
        return vocabulary_from_dict(data, where=where)
    except UsageError as exc:
        line = _line_of(exc.what, text, data, where)
        if line is None:
            raise
        raise UsageError(f"{where}, line {line}{exc.what.removeprefix(where)}", remedy=exc.remedy) from exc


def _line_of(problem: str, text: str, data: dict[str, Any], where: str) -> int | None:
    """The line that brings a problem into a file: the first up to which the file has the same one.

    TOML's parser tells no lines. A part of the file gets what only follows later, and a list that goes on is closed.
    None where the problem is that something is missing from the whole file.
    """
    lacking = {key: value for key, value in _SOUND.items() if key in data}
    lines = text.split("\n")
    for count in range(len(lines) + 1) if len(lines) <= _MAX_LINES else ():
        part = "\n".join(lines[:count])
        if any(_problem(part + end, lacking, where) == problem for end in ("", "\n]", "\n]}]")):
            return count or None
    return None


def _problem(text: str, lacking: dict[str, Any], where: str) -> str | None:
    """What is wrong with a part of a file; None where nothing is, or it is no TOML."""
    try:
        vocabulary_from_dict({**lacking, **tomllib.loads(text)}, where=where)
    except UsageError as exc:
        return exc.what
    except (ValueError, RecursionError):
        return None
    return None


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")  # some editors on Windows write a byte order mark
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        what = f"vocabulary file {path} cannot be read: line {line} is not UTF-8"
        raise UsageError(what, remedy="save it again as UTF-8") from exc
    except FileNotFoundError as exc:
        remedy = f"check the path, or use a shipped vocabulary: {', '.join(shipped_vocabularies())}"
        raise UsageError(f"vocabulary file {path} does not exist", remedy=remedy) from exc
    except (OSError, ValueError) as exc:  # ValueError: a NUL byte in the path
        raise UsageError(f"vocabulary file {path} cannot be read: {exc}", remedy="give a UTF-8 .toml file") from exc
