"""PyGObject and GStreamer without either: a pipeline that follows a script. The real one runs the same tests."""

from __future__ import annotations

import enum
import sys
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class State(enum.Enum):
    NULL = 1
    PAUSED = 3
    PLAYING = 4


class StateChangeReturn(enum.Enum):
    FAILURE = 0
    SUCCESS = 1
    ASYNC = 2
    NO_PREROLL = 3


class MessageType(enum.Flag):
    ERROR = 2


class BufferFlags(enum.Flag):
    CORRUPTED = 256


class MapFlags(enum.Flag):
    READ = 1


class Error(Exception):
    """`GLib.Error`."""

    def __init__(self, message: str) -> None:
        super().__init__(f"gst_parse_error: {message} (1)")
        self.message = message


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A sample: what its caps, its buffer and its video meta say."""

    data: bytes
    format: str = "BGR"
    size_wh: tuple[int, int] = (2, 2)
    strides: tuple[int, ...] = (8,)
    offsets: tuple[int, ...] = (0,)
    padded_strides: tuple[int, ...] = ()  # of the video meta, where there is one
    pts: int = 0
    matrix: str = "bt601"
    is_labelled: bool = True  # do the caps say the matrix?
    range: str = "16-235"
    fps: tuple[int, int] = (25, 1)
    readable: bool = True
    corrupt: bool = False

    def get_structure(self, index: int) -> Picture:
        assert index == 0
        return self

    def has_field(self, name: str) -> bool:
        assert name == "colorimetry"
        return self.is_labelled


@dataclass
class Script:
    """What the pipeline does: its changes of state, then pictures, errors (texts) and pauses (None), then it ends."""

    changes: list[StateChangeReturn] = field(default_factory=lambda: [StateChangeReturn.NO_PREROLL])
    plays: list[Picture | str | None] = field(default_factory=list)
    ends: bool = True
    parse_error: str = ""
    early_error: str = ""  # on the bus before anything plays
    parsed: str = ""
    states: list[State] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)
    mapped: int = 0  # buffers that were not given back


class Sample:
    def __init__(self, script: Script, picture: Picture) -> None:
        self._script, self.picture, self.pts = script, picture, picture.pts

    def get_buffer(self) -> Sample:
        return self

    def has_flags(self, flags: BufferFlags) -> bool:
        assert flags == BufferFlags.CORRUPTED
        return self.picture.corrupt

    def get_caps(self) -> Picture:
        return self.picture

    def map(self, flags: MapFlags) -> tuple[bool, Any]:
        assert flags == MapFlags.READ
        self._script.mapped += self.picture.readable
        return self.picture.readable, SimpleNamespace(data=memoryview(self.picture.data))

    def unmap(self, view: Any) -> None:
        view.data.release()
        self._script.mapped -= 1


class Pipeline:
    """Pipeline, bus and appsink in one."""

    def __init__(self, script: Script) -> None:
        self._script, self._plays = script, deque(script.plays)
        self._changes = deque(script.changes)
        self._errors = deque([script.early_error] if script.early_error else [])

    def get_by_name(self, name: str) -> Pipeline:
        assert f"appsink name={name} " in self._script.parsed
        return self

    def get_bus(self) -> Pipeline:
        return self

    def set_state(self, state: State) -> StateChangeReturn:
        self._script.states.append(state)
        return self._changes.popleft() if state == State.PAUSED else StateChangeReturn.ASYNC

    def get_state(self, timeout_ns: int) -> tuple[StateChangeReturn, State, State]:
        assert timeout_ns > 0
        change = self._changes.popleft() if self._changes else StateChangeReturn.ASYNC
        return change, State.PAUSED, State.PAUSED

    def set_property(self, name: str, value: Any) -> None:
        self._script.properties[name] = value

    def pop_filtered(self, types: MessageType) -> Any:
        assert types == MessageType.ERROR
        if not self._errors:
            return None
        error = Error(self._errors.popleft())
        return SimpleNamespace(src=SimpleNamespace(get_name=lambda: "src0"), parse_error=lambda: (error, "debug"))

    def try_pull_sample(self, timeout_ns: int) -> Sample | None:
        assert timeout_ns > 0
        if not self._plays:
            return None
        item = self._plays.popleft()
        if isinstance(item, str):
            self._errors.append(item)
        return Sample(self._script, item) if isinstance(item, Picture) else None

    def is_eos(self) -> bool:
        return self._script.ends and not self._plays


def install(patch: pytest.MonkeyPatch, script: Script, missing: str = "") -> None:
    """Put it where `import gi` finds it; `missing` is a namespace that this machine has no description of."""

    def require_version(namespace: str, version: str) -> None:
        if namespace == missing:
            raise ValueError(f"Namespace {namespace} not available")

    def parse_launch(text: str) -> Pipeline:
        script.parsed = text
        if script.parse_error:
            raise Error(script.parse_error)
        return Pipeline(script)

    def new_from_caps(caps: Picture) -> Any:
        return SimpleNamespace(
            width=caps.size_wh[0], height=caps.size_wh[1], stride=[*caps.strides], offset=[*caps.offsets],
            finfo=SimpleNamespace(name=caps.format), fps_n=caps.fps[0], fps_d=caps.fps[1],
            colorimetry=SimpleNamespace(
                matrix=SimpleNamespace(value_nick=caps.matrix), range=SimpleNamespace(value_nick=caps.range)
            ),
        )  # fmt: skip

    def buffer_get_video_meta(buffer: Sample) -> Any:
        strides = buffer.picture.padded_strides
        return SimpleNamespace(stride=[*strides], offset=[*buffer.picture.offsets]) if strides else None

    gst = {
        "State": State, "StateChangeReturn": StateChangeReturn, "MessageType": MessageType, "MapFlags": MapFlags,
        "BufferFlags": BufferFlags,
        "CLOCK_TIME_NONE": 2**64 - 1, "init": lambda argv: None, "parse_launch": parse_launch,
    }  # fmt: skip
    video = {
        "VideoInfo": SimpleNamespace(new_from_caps=new_from_caps),
        "buffer_get_video_meta": buffer_get_video_meta,
    }
    for name, content in {
        "gi": {"require_version": require_version},
        "gi.repository": {},
        "gi.repository.GLib": {"Error": Error},
        "gi.repository.Gst": gst,
        "gi.repository.GstApp": {},
        "gi.repository.GstVideo": video,
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
