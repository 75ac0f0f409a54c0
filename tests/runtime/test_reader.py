"""Decoding on a thread: files lose nothing, live drops the oldest, and whatever happens the thread ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.reader import FrameReader

from .tiny import ScriptedSource, random_frames

CAPACITY = 4


def read(source: ScriptedSource, **options: object) -> tuple[FrameReader, list[int]]:
    with FrameReader(source, lambda index: True, threading.Event(), **options) as reader:  # type: ignore[arg-type]
        found = [frame.index for frame in reader]
    assert not reader._thread.is_alive()
    return reader, found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Endless(ScriptedSource):
    """Frames for ever."""

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        index = 0
        while True:
            if wanted(index):
                yield CameraFrame(index=index, seconds=index / 10, image_bgr=np.zeros((1, 1, 3), np.uint8))
            index += 1


@pytest.mark.parametrize("live", [False, True])
def test_a_source_without_frames_ends_at_once(live: bool) -> None:
    reader, found = read(ScriptedSource([], live=live))
    assert (found, reader.camera_frames, reader.dropped_frames) == ([], 0, 0)


def test_a_file_waits_for_a_slow_reader_and_drops_nothing() -> None:
    with FrameReader(ScriptedSource(random_frames(30)), lambda index: True, threading.Event()) as reader:
        wait_until(reader._queue.full)
        found = [frame.index for frame in reader]
    assert found == list(range(30))
    assert reader.dropped_frames == 0
    assert reader.camera_frames == 30
    assert reader.timer.summary()["decode"].count == 30


def test_a_live_source_drops_the_oldest_and_counts_them() -> None:
    source = ScriptedSource(random_frames(20), live=True, gate=threading.Event())
    with FrameReader(source, lambda index: True, threading.Event()) as reader:
        assert source.ended.wait(10)  # nobody has read a frame until now
        assert reader._queue.qsize() == CAPACITY
        iterator = iter(reader)
        found = [next(iterator).index for _ in range(CAPACITY)]
        assert source._gate is not None
        source._gate.set()
        found += [frame.index for frame in iterator]
    assert found == [16, 17, 18, 19]
    assert reader.dropped_frames == 16


def test_frames_that_nobody_wants_are_counted_but_not_converted() -> None:
    source = ScriptedSource(random_frames(10))
    with FrameReader(source, lambda index: index % 4 == 0, threading.Event()) as reader:
        assert [frame.index for frame in reader] == [0, 4, 8]
    assert reader.camera_frames == 10


@pytest.mark.parametrize(
    ("max_frames", "stride", "found"),
    [(1, 1, [0]), (3, 1, [0, 1, 2]), (3, 2, [0, 2]), (4, 3, [0, 3]), (10, 4, [0, 4, 8]), (99, 4, [0, 4, 8])],
)
@pytest.mark.parametrize("live", [False, True])
def test_max_frames_counts_camera_frames(max_frames: int, stride: int, found: list[int], live: bool) -> None:
    source = ScriptedSource(random_frames(10), live=live)
    with FrameReader(source, lambda index: index % stride == 0, threading.Event(), max_frames) as reader:
        assert [frame.index for frame in reader] == found
    assert reader.camera_frames == min(max_frames, 10)


def test_max_frames_ends_an_endless_source() -> None:
    assert read(Endless([]), max_frames=7)[1] == list(range(7))


@pytest.mark.parametrize("live", [False, True])
def test_stop_ends_an_endless_source_soon(live: bool) -> None:
    stop = threading.Event()
    with FrameReader(Endless([], live=live), lambda index: True, stop) as reader:
        for position, _ in enumerate(reader):
            if position == 2:
                stop.set()
        assert position == 2
    assert not reader._thread.is_alive()


def test_stop_is_noticed_while_the_source_gives_nothing() -> None:
    stop, gate = threading.Event(), threading.Event()
    source = ScriptedSource(random_frames(1), live=True, gate=gate)
    with FrameReader(source, lambda index: True, stop) as reader:
        iterator = iter(reader)
        next(iterator)
        stop.set()
        assert list(iterator) == []  # although the thread is still waiting for the camera
        gate.set()


@pytest.mark.parametrize("frames", [0, 1, 3, 10])
@pytest.mark.parametrize("error", [SourceError("cable pulled", remedy="plug it in"), MemoryError("no memory")])
def test_what_the_thread_raises_reaches_the_owner_after_the_frames_before(frames: int, error: BaseException) -> None:
    found: list[int] = []
    source = ScriptedSource(random_frames(frames), error=error)
    with (
        FrameReader(source, lambda index: True, threading.Event()) as reader,
        pytest.raises(type(error), match=r"cable pulled|no memory"),
    ):
        found.extend(frame.index for frame in reader)
    assert found == list(range(frames))
    assert not reader._thread.is_alive()


def test_a_filter_that_fails_reaches_the_owner_too() -> None:
    def wanted(index: int) -> bool:
        raise ZeroDivisionError("a bug")

    with (
        FrameReader(ScriptedSource(random_frames(2)), wanted, threading.Event()) as reader,
        pytest.raises(ZeroDivisionError, match="a bug"),
    ):
        list(reader)


@pytest.mark.parametrize("live", [False, True])
def test_an_owner_that_fails_leaves_no_thread(live: bool) -> None:
    def fail(frame: CameraFrame) -> None:
        raise RuntimeError("owner")

    reader = FrameReader(Endless([], live=live), lambda index: True, threading.Event())
    with pytest.raises(RuntimeError, match="owner"), reader:
        fail(next(iter(reader)))
    assert not reader._thread.is_alive()


def test_an_owner_that_never_reads_leaves_no_thread() -> None:
    with FrameReader(ScriptedSource(random_frames(50)), lambda index: True, threading.Event()) as reader:
        pass
    assert not reader._thread.is_alive()
