"""`stprompt-edge prompts`: a language model writes a vocabulary's phrases, for a person to edit.

STPrompt (arXiv 2408.05905) asks an LLM once for phrases of normal scenes and of each anomaly, and localizes with them
(eq. 11). Its questions are not reproduced here: the wording below is ours. The counts are the paper's: 13 normal
phrases, up to four for each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.files import atomic_path, check_writable, printable
from stprompt_edge.progress import StepProgress
from stprompt_edge.training.chat_server import ChatServer
from stprompt_edge.training.phrases import distinct_phrases, read_phrases, taken_by_names
from stprompt_edge.vocabulary import Vocabulary, load_vocabulary, vocabulary_from_dict, vocabulary_to_toml

PHRASES_OF_A_CLASS = 4
NORMAL_PHRASES = 13
ANY_SCENE = "a place that a surveillance camera watches"

ROLE = (
    "You describe what a still frame of a surveillance camera shows, for an image-text model such as CLIP. "
    "You name only what can be seen in one frame: people, objects, what they do and where; no causes, feelings, "
    "sounds or intentions."
)
ABNORMAL_QUESTION = (
    "Which phrases describe what can be seen in {scene} while this happens: {event}? "
    "Give {count} different short phrases in English, each of 3 to 12 words, each about a part of the picture where it "
    "is visible. Answer with a JSON list of {count} strings and nothing else."
)
NORMAL_QUESTION = (
    "Which phrases describe what can be seen in {scene} on an ordinary day, while nothing unusual happens? "
    "Cover empty parts of the scene, objects in it, and people doing ordinary things. "
    "Give {count} different short phrases in English, each of 2 to 10 words. None may describe: {events}. "
    "Answer with a JSON list of {count} strings and nothing else."
)
AGAIN = "That is no list that I can use. Answer with a JSON list of {count} short strings, and nothing else."


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """What a user types.

    Raises:
        UsageError: names that no vocabulary takes, or an output that cannot be written.
    """

    classes: tuple[str, ...]
    out: Path
    name: str | None = None  # of the vocabulary; None for the file's
    count: int = PHRASES_OF_A_CLASS
    normal_scene: str | None = None
    force: bool = False  # overwrite

    def __post_init__(self) -> None:
        """Everything that can be known before a model thinks for minutes."""
        if self.out.is_dir() or not self.out.parent.is_dir():
            problem = "is a folder" if self.out.is_dir() else "cannot be made: its folder does not exist"
            raise UsageError(f"{self.out} {problem}", remedy="name a file: --out vocabulary.toml")
        if self.out.exists() and not self.force:
            remedy = "choose another --out, or overwrite it with --force"
            raise UsageError(f"{self.out} exists, and you may have edited it", remedy=remedy)
        _vocabulary(self.title, [(name, ()) for name in self.classes], ("a phrase",))
        check_writable(self.out.parent)

    @property
    def title(self) -> str:
        """The vocabulary's name."""
        return self.name if self.name is not None else printable(self.out.stem)


def write_vocabulary(
    server: ChatServer, model: str, settings: PromptSettings, progress: StepProgress = lambda what, done: None
) -> Vocabulary:
    """Ask for every class and the normal scene, and write the vocabulary file whole or not at all.

    Args:
        server: where to ask.
        model: which of its models.
        settings: classes and output.
        progress: told what is asked for, and the fraction done.

    Returns:
        The vocabulary as it reads back from the file.

    Raises:
        UsageError, EnvironmentFailure: as `ChatServer.ask`; nothing usable in two answers; the file cannot be written.
    """
    asking = _Asking(server, model)
    scene = (settings.normal_scene or "").strip() or ANY_SCENE
    taken = taken_by_names(settings.classes)
    classes = []
    for done, event in enumerate(settings.classes):
        progress(f"phrases for {event}", done / (len(settings.classes) + 1))
        question = ABNORMAL_QUESTION.format(scene=scene, event=event, count=settings.count)
        classes.append((event, asking.phrases(question, event, taken, settings.count)))
    progress("phrases for normal scenes", len(classes) / (len(classes) + 1))
    question = NORMAL_QUESTION.format(scene=scene, events="; ".join(settings.classes), count=NORMAL_PHRASES)
    normal = asking.phrases(question, "normal scenes", taken, NORMAL_PHRASES)
    text = to_toml(_vocabulary(settings.title, classes, normal), model)
    with atomic_path(settings.out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        vocabulary = load_vocabulary(temporary)
    progress("done", 1.0)
    return vocabulary


@dataclass(frozen=True)
class _Asking:
    server: ChatServer
    model: str

    def phrases(self, question: str, subject: str, taken: set[str], count: int) -> tuple[str, ...]:
        """At least one new phrase, from the first answer or the second."""
        messages = [{"role": "system", "content": ROLE}, {"role": "user", "content": question}]
        for _ in range(2):
            answer = self.server.ask(self.model, messages)
            chosen = distinct_phrases(read_phrases(answer), taken, count)
            if chosen:
                return chosen
            messages += [
                {"role": "assistant", "content": answer[:2000] or "(nothing)"},
                {"role": "user", "content": AGAIN.format(count=count)},
            ]
        said = " ".join(answer.split())[:80] or "nothing"
        said = "".join(c for c in said if c.isprintable())
        raise EnvironmentFailure(
            f"model '{self.model}' gives no usable phrase for {subject}; it says: {said}",
            remedy="pass another --model, or write the vocabulary by hand",
        )


def _vocabulary(name: str, classes: list[tuple[str, tuple[str, ...]]], normal: tuple[str, ...]) -> Vocabulary:
    tables = [{"name": event, "phrases": list(phrases)} for event, phrases in classes]
    return vocabulary_from_dict({"name": name, "normal_phrases": list(normal), "classes": tables}, where="prompts")


def to_toml(vocabulary: Vocabulary, model: str) -> str:
    """The file, with a header that says where its phrases come from.

    Args:
        vocabulary: what to write.
        model: who wrote the phrases.
    """
    writer = "".join(c if c.isprintable() else " " for c in model)
    comments = [
        f"Phrases by the language model {writer}. Edit them: keep what your camera can show, remove what it cannot,",
        "and add your own. Localization compares each window of a frame with every phrase.",
        '`label` of a class, where its name in your data set differs: label = "RoadAccidents".',
    ]
    return vocabulary_to_toml(vocabulary, comments)
