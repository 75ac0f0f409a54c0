"""Draws the two pictures of the page on architecture: `python -m docs.pictures`. A test holds them to the imports."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
INK, QUIET, LINE = "#1c2430", "#5d6b7e", "#8492a6"
PAPER, EDGE, TORCH, SHARED = "#ffffff", "#e3f1fa", "#fdeedb", "#e9edf2"
Corners = tuple[tuple[int, int], ...]
STROKES = {EDGE: "#2b8cc4", TORCH: "#d98a2b", SHARED: "#8492a6", PAPER: "#c4ced9"}


@dataclass(frozen=True)
class Room:
    """A box: its place, what stands in it, and the parts that stand in it as boxes of their own."""

    name: str
    x: int
    y: int
    width: int
    text: str
    colour: str = PAPER
    height: int = 62
    parts: tuple[str, ...] = ()


EDGE_PARTS = ("sources", "track", "batcher", "methods", "backends", "alarm", "sinks", "recording")
CORE = ("errors", "files", "geometry", "preprocess", "vocabulary", "progress", "masking", "streams")
ROOMS = (
    Room("cli", 40, 70, 640, "one file for each command: parse, call one function, print", SHARED, 50),
    Room("calibration", 40, 168, 180, "static int8 for TensorRT"),
    Room("training", 250, 168, 430, "losses, recipes, the loop; prompts by a language model", TORCH),
    Room("evaluation", 250, 266, 430, "AUC, AP, TIoU, time to alarm, false alarms"),
    Room("reports", 480, 364, 200, "one look for every page"),
    Room("features", 250, 364, 200, "one checked file a video"),
    Room("export", 40, 462, 180, "graphs, parity, engines", TORCH),
    Room("datasets", 480, 462, 200, "folders, lists, annotations"),
    Room("model", 40, 568, 640, "the paper in torch, one equation for each function", TORCH, 56),
    Room("api", 730, 168, 150, "load, watch, score"),
    Room("bench", 910, 168, 130, "speed, memory"),
    Room("doctor", 910, 266, 130, "what is missing"),
    Room("runtime", 730, 364, 310, "from a camera's frame to a detection", EDGE, 260, EDGE_PARTS),
    Room("bundle", 40, 676, 1000, "the contract between the sides: manifest, graphs, hashes", SHARED),
    Room("core", 40, 774, 1000, "", SHARED, 52, CORE),
)
IMPORTS = {  # who imports whom -> the arrow's corners; what follows from others is left out
    ("cli", "calibration"): ((130, 120), (130, 168)),
    ("cli", "training"): ((465, 120), (465, 168)),
    ("cli", "bench"): ((680, 95), (975, 95), (975, 168)),
    ("calibration", "evaluation"): ((180, 230), (180, 297), (250, 297)),
    ("calibration", "export"): ((100, 230), (100, 462)),
    ("training", "evaluation"): ((465, 230), (465, 266)),
    ("evaluation", "features"): ((350, 328), (350, 364)),
    ("evaluation", "reports"): ((580, 328), (580, 364)),
    ("features", "export"): ((300, 426), (300, 493), (220, 493)),
    ("features", "datasets"): ((400, 426), (400, 493), (480, 493)),
    ("datasets", "runtime"): ((680, 493), (730, 493)),
    ("export", "runtime"): ((180, 524), (180, 546), (730, 546)),
    ("export", "model"): ((100, 524), (100, 568)),
    ("model", "bundle"): ((360, 624), (360, 676)),
    ("api", "runtime"): ((805, 230), (805, 364)),
    ("bench", "doctor"): ((975, 230), (975, 266)),
    ("doctor", "runtime"): ((975, 328), (975, 364)),
    ("runtime", "bundle"): ((885, 624), (885, 676)),
    ("bundle", "core"): ((540, 738), (540, 774)),
}


@dataclass(frozen=True)
class Station:
    """A stop on a frame's way, and the file that is it."""

    name: str
    file: str
    x: int
    y: int
    text: str
    numbers: tuple[int, ...]  # its turns


STATIONS = (
    Station("source", "runtime/sources/", 40, 190, "opens and decodes", (1,)),
    Station("sampler", "runtime/sampler.py", 245, 190, "takes 1 of every stride", (2,)),
    Station("track", "runtime/track.py", 450, 190, "one camera, no I/O", (3, 6)),
    Station("alarm", "runtime/alarm/", 655, 190, "on, off, events", (7,)),
    Station("sinks", "runtime/sinks/", 860, 190, "and runtime/recording/", (8,)),
    Station("batcher", "runtime/batcher.py", 450, 330, "many cameras, one call", (4,)),
    Station("backend", "runtime/backends/", 450, 470, "encoder and heads", (5,)),
)
STATION_WIDTH, STATION_HEIGHT = 180, 84
STEPS = (  # what travels, from where to where, and where its name stands
    ("camera frames", ((220, 232), (245, 232)), (232, 180)),
    ("sampled frames", ((425, 232), (450, 232)), (437, 180)),
    ("EncodeRequest", ((500, 274), (500, 330)), (490, 307)),
    ("batch", ((500, 414), (500, 470)), (490, 447)),
    ("embeddings", ((580, 470), (580, 414)), (590, 447)),
    ("FrameEmbeddings", ((580, 330), (580, 274)), (590, 307)),
    ("Detection", ((630, 232), (655, 232)), (642, 180)),
    ("AlarmChange, Event", ((835, 232), (860, 232)), (847, 180)),
)


def house() -> str:
    """The rooms, and who imports whom."""
    parts = [
        _text(40, 46, "The workshop makes bundles", 17, weight=700),
        _text(730, 46, "The edge watches, without torch", 17, weight=700),
        _text(805, 132, "import stprompt_edge as se", 13, QUIET, "middle"), _arrow(((805, 140), (805, 168))),
        *(_arrow(corners) for corners in IMPORTS.values()),
        *(_room(room) for room in ROOMS),
        *_legend(),
    ]  # fmt: skip
    return _svg(1080, 880, "The rooms of stprompt_edge and what they import", parts)


def _room(room: Room) -> str:
    middle = room.x + room.width // 2
    drawn = [_box(room.x, room.y, room.width, room.height, room.colour)]
    if room.name == "core":
        drawn += _chips(room.parts, room.x + 78, room.y + 11, 110, len(room.parts))
        return "".join([*drawn, _text(room.x + 20, room.y + 32, room.name, 17, weight=700)])
    top = room.y + 34 if room.parts else room.y + room.height // 2 - 4
    drawn += [_text(middle, top, room.name, 17, anchor="middle", weight=700)]
    drawn += [_text(middle, top + 20, room.text, 13, QUIET, "middle")]
    return "".join([*drawn, *_chips(room.parts, room.x + 20, room.y + 74, 132, 2)])


def _chips(names: tuple[str, ...], left: int, top: int, width: int, columns: int) -> list[str]:
    drawn = []
    for place, name in enumerate(names):
        x, y = left + place % columns * (width + 4), top + place // columns * 42
        drawn += [_box(x, y, width - 4, 30, PAPER, 6), _text(x + width // 2 - 2, y + 20, name, 13, anchor="middle")]
    return drawn


def _legend() -> list[str]:
    drawn, x = [], 40
    for colour, words in (
        (TORCH, "may import torch"),
        (PAPER, "works without torch"),
        (EDGE, "the edge"),
        (SHARED, "shared"),
    ):
        drawn += [_box(x, 844, 18, 18, colour, 4), _text(x + 26, 858, words, 13, QUIET)]
        x += 60 + 8 * len(words)
    return [*drawn, _arrow(((x, 853), (x + 34, 853))), _text(x + 44, 858, "imports", 13, QUIET)]


def way() -> str:
    """A frame's way from the camera to whoever wants to know."""
    parts = [
        _box(40, 40, 1000, 84, SHARED), _text(60, 74, "run", 18, weight=700),
        _text(60, 100, "runtime/watch.py", 13, STROKES[EDGE], mono=True),
        _text(230, 87, "opens every part, hands each frame from one to the next, ends them in order", 14, QUIET),
        *(_arrow(corners) for _, corners, _ in STEPS),
        *(_label(words, corners, place) for words, corners, place in STEPS),
        *(_station(station) for station in STATIONS),
    ]  # fmt: skip
    return _svg(1080, 594, "The way of one frame through the runtime", parts)


def _station(station: Station) -> str:
    x, y = station.x, station.y
    drawn = [
        _box(x, y, STATION_WIDTH, STATION_HEIGHT, EDGE), _text(x + 14, y + 28, station.name, 17, weight=700),
        _text(x + 14, y + 50, station.file, 13, STROKES[EDGE], mono=True),
        _text(x + 14, y + 71, station.text, 13, QUIET),
    ]  # fmt: skip
    for place, number in enumerate(reversed(station.numbers)):
        middle = x + STATION_WIDTH - 20 - 26 * place
        drawn += [f'<circle cx="{middle}" cy="{y + 22}" r="11" fill="{STROKES[EDGE]}"/>']
        drawn += [_text(middle, y + 27, str(number), 13, PAPER, "middle", 700)]
    return "".join(drawn)


def _label(words: str, corners: Corners, place: tuple[int, int]) -> str:
    (x0, _), (x1, _) = corners[0], corners[-1]
    anchor = "middle" if x0 != x1 else "end" if place[0] < x0 else "start"
    return _text(*place, words, 13, anchor=anchor)


def _box(x: int, y: int, width: int, height: int, colour: str, radius: int = 8) -> str:
    place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"'
    return f'<rect {place} fill="{colour}" stroke="{STROKES[colour]}"/>'


def _text(
    x: int, y: int, words: str, size: int, colour: str = INK, anchor: str = "start", weight: int = 400,
    mono: bool = False,
) -> str:  # fmt: skip
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}"'
    family = ' font-family="ui-monospace, Menlo, Consolas, monospace"' if mono else ""
    return f'<text x="{x}" y="{y}" {style}{family}>{escape(words)}</text>'


def _arrow(corners: Corners) -> str:
    points = " ".join(f"{x},{y}" for x, y in corners)
    return f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#head)"/>'


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = f'<path d="M0,0 L9,4.5 L0,9 z" fill="{LINE}"/>'
    units = 'markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="9" refX="9" refY="4.5" orient="auto"'
    marker = f'<marker id="head" {units}>{head}</marker>'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f"<title>{escape(title)}</title><defs>{marker}</defs>",
        f'<rect width="{width}" height="{height}" rx="12" fill="{PAPER}"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


PICTURES = {"house.svg": house, "way.svg": way}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw(), encoding="utf-8")
