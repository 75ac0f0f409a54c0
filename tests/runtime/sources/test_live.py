"""Live sources that heal: the decisions on a clock of paper, the rest on scripts and on a real RTSP server."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.frames import CameraFrame, Nv12Frame
from stprompt_edge.runtime.planes import PlanarFrame
from stprompt_edge.runtime.reader import FrameReader
from stprompt_edge.runtime.sources import Source, open_source
from stprompt_edge.runtime.sources.ffmpeg import VideoSource
from stprompt_edge.runtime.sources.live import Backoff, LiveSource, Reports, Stall, healing
from stprompt_edge.runtime.watch import RunSettings, run
from tests.camera_servers import RtspServer, rtsp_server
from tests.runtime.tiny import ScriptedSource, random_frames, tiny_bundle

__all__ = ["rtsp_server"]

LOST = SourceError("script: cable pulled", remedy="plug it in")
QUICK = Backoff(first_s=0.05, longest_s=0.4)


def everything(index: int) -> bool:
    return True


# ---- the decisions


@pytest.mark.parametrize(
    ("last_s", "now_s", "over"), [(0.0, 0.0, False), (0.0, 19.9, False), (0.0, 20.0, True), (5.0, 24.9, False)]
)
def test_a_stall(last_s: float, now_s: float, over: bool) -> None:
    assert Stall().is_over(last_s=last_s, now_s=now_s) is over


@pytest.mark.parametrize(
    ("failures", "chance", "wait_s"),
    [
        (0, 0.5, 1.0),
        (0, 0.0, 0.8),
        (0, 1.0, 1.2),
        (1, 0.5, 2.0),
        (4, 0.5, 16.0),
        (5, 0.5, 30.0),
        (5, 1.0, 36.0),
        (10**6, 0.5, 30.0),
    ],
)
def test_waits_double_up_to_the_longest(failures: int, chance: float, wait_s: float) -> None:
    assert Backoff().wait_s(failures, chance) == pytest.approx(wait_s)


@pytest.mark.parametrize(("now_s", "settled"), [(100.0, False), (129.9, False), (130.0, True)])
def test_a_connection_that_held_begins_a_new_row(now_s: float, settled: bool) -> None:
    assert Backoff().has_settled(opened_s=100.0, now_s=now_s) is settled


@pytest.mark.parametrize(
    ("losses", "reopened", "line"),
    [
        (1, 1, "the source was lost once and reopened (at 0.0 s: why)"),
        (1, 0, "the source was lost once and reopened 0 times (at 0.0 s: why)"),
        (2, 1, "the source was lost 2 times and reopened once (at 0.0 s: why; at 1.0 s: why)"),
        (9, 9, "the source was lost 9 times and reopened (at 0.0 s: why; at 1.0 s: why; at 2.0 s: why; ...)"),
    ],
)
def test_what_is_told_of_losses(losses: int, reopened: int, line: str) -> None:
    reports = Reports()
    for second in range(losses):
        reports.lose(second, "why")
    assert reports.told(reopened) == [line]


def test_what_is_told_stays_short() -> None:
    reports = Reports()
    assert reports.told(0) == []
    for number in range(50):
        reports.lose(number, "w" * 10_000)
        reports.hear([f"packet {number} undecodable", "the same"], number)
    lines = reports.told(50)
    assert lines[:3] == ["packet 0 undecodable", "the same", "packet 1 undecodable, counted from 1.0 s"]
    assert lines[-2] == "43 more warnings of later connections"
    assert sum(map(len, lines)) < 1000


def test_a_loss_that_was_the_end_is_not_told() -> None:
    reports = Reports()
    reports.lose(1.0, "it ended")
    reports.retract()
    assert reports.told(0) == []


# ---- on scripts


class Connection(ScriptedSource):
    """Ten frames a second, at the paper clock's time; then it ends, fails, or sends what is no frame for ever."""

    def __init__(self, count: int, *, clock: Paper, error: Exception | None = None, silent: bool = False) -> None:
        super().__init__(random_frames(count), live=True, error=error)
        self.finite, self._clock, self._silent = False, clock, silent
        self.losses.corrupt_frames = 1

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        for frame in super().frames(wanted):
            yield frame
            self.check()
            self._clock.now_s += 0.1
        while self._silent:
            self.check()
            self._clock.now_s += 1.0


class Paper:
    """A clock that somebody has to turn; waits turn it, and are noted."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now_s += seconds
        return len(self.waits) > 40


def live(clock: Paper, *connections: Source | SourceError) -> LiveSource:
    """One connection after the other; an error is an opening that fails."""
    left = iter(connections)

    def opener() -> Source:
        found = next(left)
        if isinstance(found, SourceError):
            raise found
        return found

    first = opener()
    return LiveSource(first, opener, clock=lambda: clock.now_s, wait=clock.wait, chance=lambda: 0.5)


def recording() -> Source:
    return ScriptedSource(random_frames(5))


@pytest.mark.parametrize("error", [None, LOST])
def test_frames_go_on_over_a_loss(error: SourceError | None) -> None:
    clock = Paper()
    connect = partial(Connection, clock=clock, error=error)
    source = live(clock, connect(3), connect(2), connect(0), connect(1), recording())
    found = [(frame.index, round(frame.seconds, 3), source.restarted_at) for frame in source.frames(everything)]
    assert [index for index, _, _ in found] == list(range(6))
    # after 0.3 s of frames 1 s of waiting; after 0.2 s of frames 2 s, then 4 s
    assert [seconds for _, seconds, _ in found] == pytest.approx([0.0, 0.1, 0.2, 1.3, 1.4, 7.5])
    assert [restarted for _, _, restarted in found] == [None, None, None, 3, 3, 5]
    assert (source.reopened, source.losses.corrupt_frames, clock.waits) == (3, 4, [1.0, 2.0, 4.0, 8.0])
    reason = "it ended" if error is None else "cable pulled"
    places = f"at 0.2 s: {reason}; at 1.4 s: {reason}; at 1.4 s: {reason}"
    assert source.warnings == [f"the source was lost 3 times and reopened ({places})"]


@pytest.mark.parametrize("stride", [1, 2, 7])
def test_frames_that_nobody_wants_count(stride: int) -> None:
    clock = Paper()
    source = live(clock, Connection(5, clock=clock), Connection(5, clock=clock), recording())
    asked: list[int] = []

    def wanted(index: int) -> bool:
        asked.append(index)
        return index % stride == 0

    assert [frame.index for frame in source.frames(wanted)] == list(range(0, 10, stride))
    assert asked == list(range(10))


def test_time_never_stands_still() -> None:
    """Where a stream sends more than the clock has seconds: it came in a burst."""
    clock = Paper()
    burst = Connection(1, clock=clock)
    burst._frames = [CameraFrame(index=0, seconds=50.0, image_bgr=np.zeros((1, 1, 3), np.uint8))]
    seconds = [
        frame.seconds for frame in live(clock, burst, Connection(2, clock=clock), recording()).frames(everything)
    ]
    assert seconds == pytest.approx([50.0, 50.1, 50.2])


def test_openings_that_fail_are_waited_for_ever_longer() -> None:
    clock = Paper()
    away = [LOST] * 7
    source = live(clock, Connection(1, clock=clock), *away, Connection(1, clock=clock), recording())
    assert len(list(source.frames(everything))) == 2
    assert clock.waits == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert source.warnings == ["the source was lost once and reopened (at 0.0 s: it ended)"]


def test_after_a_connection_that_held_waits_are_short_again() -> None:
    clock = Paper()
    connections = [Connection(count, clock=clock) for count in (1, 1, 310, 1)]
    list(live(clock, *connections, recording()).frames(everything))
    assert clock.waits == [1, 2, 1, 2]


def test_a_stream_of_what_is_no_frame_has_stalled() -> None:
    clock = Paper()
    source = live(clock, Connection(2, clock=clock, silent=True), Connection(1, clock=clock), recording())
    found = [frame.seconds for frame in source.frames(everything)]
    assert found == pytest.approx([0.0, 0.1, 21.2], abs=0.11)
    assert source.warnings == ["the source was lost once and reopened (at 0.1 s: no frame for 20 s)"]


def test_a_receiver_that_takes_long_is_no_stall() -> None:
    clock = Paper()
    source = live(clock, Connection(3, clock=clock), recording())
    for _ in source.frames(everything):
        clock.now_s += 1000
    assert source.reopened == 0


def test_frames_keep_their_planes_and_their_size() -> None:
    clock = Paper()
    planes = Nv12Frame(luma=np.zeros((4, 6), np.uint8), chroma=np.zeros((2, 3, 2), np.uint8))
    asked: list[int] = []

    class Planar(Connection):
        def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
            for frame in super().frames(wanted):
                picture, place = frame.image_bgr, {"index": frame.index, "seconds": frame.seconds}
                planar = PlanarFrame(**place, planes=planes, convert=picture.copy)  # type: ignore[arg-type]
                yield planar if self.planar(frame.index) else frame

    source = live(clock, Planar(2, clock=clock), Planar(2, clock=clock), recording())
    source.planar = lambda index: asked.append(index) or index % 2 == 1  # type: ignore[func-returns-value]
    found = list(source.frames(everything))
    assert [(frame.index, frame.size_wh, type(frame)) for frame in found] == [
        (0, (30, 20), CameraFrame),
        (1, (6, 4), PlanarFrame),
        (2, (30, 20), CameraFrame),
        (3, (6, 4), PlanarFrame),
    ]
    assert asked == [0, 1, 2, 3]
    assert found[3].seconds > found[2].seconds
    assert found[3].pixels is planes


def test_only_what_is_live_and_has_no_end_heals() -> None:
    endless = Connection(1, clock=Paper())
    assert isinstance(healing(lambda: endless), LiveSource)
    for source in (recording(), ScriptedSource(random_frames(1), live=True)):
        assert healing(lambda source=source: source) is source  # type: ignore[misc]


def test_the_first_opening_fails_at_once() -> None:
    def fail() -> Source:
        raise LOST

    with pytest.raises(SourceError, match="cable pulled"):
        healing(fail)


def test_bugs_are_not_healed() -> None:
    clock = Paper()
    source = live(clock, Connection(1, clock=clock, error=ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(source.frames(everything))


# ---- ending it


@pytest.mark.parametrize("end", [LiveSource.interrupt, LiveSource.close])
def test_a_wait_ends_at_once(end: Callable[[LiveSource], None]) -> None:
    clock = Paper()
    first = Connection(1, clock=clock)
    source = LiveSource(first, recording, backoff=Backoff(first_s=100, longest_s=100))
    frames = source.frames(everything)
    assert next(frames).index == 0
    threading.Timer(0.1, end, [source]).start()
    started = time.monotonic()
    assert list(frames) == []
    assert 0.05 < time.monotonic() - started < 5
    assert first.closed
    source.close()
    source.close()


def test_what_opens_too_late_is_closed() -> None:
    clock = Paper()
    late = Connection(1, clock=clock)

    def opener() -> Source:
        source.close()
        return late

    source = LiveSource(Connection(1, clock=clock), opener, wait=clock.wait)
    assert len(list(source.frames(everything))) == 1
    assert late.closed
    assert source.reopened == 0


def test_a_reader_does_not_wait_for_a_camera_that_is_away() -> None:
    source = LiveSource(Connection(1, clock=Paper()), recording, backoff=Backoff(first_s=100, longest_s=100))
    stop = threading.Event()
    started = time.monotonic()
    with FrameReader(source, everything, stop) as reader:
        for _ in reader:
            threading.Timer(0.1, stop.set).start()
    assert time.monotonic() - started < 5
    assert not reader._thread.is_alive()


# ---- a real camera


def heal(url: str, *, read_timeout_s: float = 10.0) -> LiveSource:
    opener = partial(VideoSource, url, url, live=True, timeout=(5.0, read_timeout_s), options={"rtsp_transport": "tcp"})
    return LiveSource(opener(), opener, backoff=QUICK)


def until_restarted(source: Source, frames: Iterator[CameraFrame], more: int) -> Sequence[CameraFrame]:
    """All frames up to so many after the next reconnect."""
    before, found = source.reopened, []
    for frame in frames:
        found.append(frame)
        if source.reopened > before and frame.index >= (source.restarted_at or 0) + more:
            break
    return found


@contextmanager
def silence(server: RtspServer, source: Source) -> Iterator[None]:
    """Stops the camera until that is noticed: connections are accepted, nothing is sent."""

    def wake() -> None:
        while not source.warnings:
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(server.process.pid, signal.SIGCONT)

    os.kill(server.process.pid, signal.SIGSTOP)
    thread = threading.Thread(target=wake)
    thread.start()
    yield
    thread.join()


def check_joint(found: Sequence[CameraFrame], restarted_at: int | None, started_s: float) -> None:
    assert restarted_at in range(5, found[-1].index)
    assert [frame.index for frame in found] == list(range(len(found)))
    assert np.all(np.diff([frame.seconds for frame in found]) > 0)
    assert found[-1].seconds < time.monotonic() - started_s + 5


def test_a_camera_that_dies_and_comes_back(rtsp_server: RtspServer) -> None:
    with heal(rtsp_server.url) as source:
        started_s = time.monotonic()
        frames = source.frames(everything)
        found = [next(frames) for _ in range(10)]
        rtsp_server.kill()
        threading.Timer(0.5, rtsp_server.start).start()  # some openings are refused until then
        found += until_restarted(source, frames, 10)
    check_joint(found, source.restarted_at, started_s)
    assert source.reopened == 1
    assert re.match(r"the source was lost once and reopened \(at \d+\.\d s: .+\)", source.warnings[-1])


def test_a_camera_that_falls_silent(rtsp_server: RtspServer) -> None:
    with heal(rtsp_server.url, read_timeout_s=1.0) as source:
        started_s = time.monotonic()
        frames = source.frames(everything)
        found = [next(frames) for _ in range(10)]
        with silence(rtsp_server, source):
            found += until_restarted(source, frames, 10)
    check_joint(found, source.restarted_at, started_s)
    assert "sends nothing any more" in source.warnings[-1]


def test_a_lost_connection_leaves_no_memory_to_the_garbage_collector(rtsp_server: RtspServer) -> None:
    with heal(rtsp_server.url, read_timeout_s=1.0) as source:
        old = weakref.ref(source._inner)
        frames = source.frames(everything)
        next(frames)
        gc.disable()
        try:
            with silence(rtsp_server, source):
                until_restarted(source, frames, 1)
            assert old() is None
        finally:
            gc.enable()


def test_a_run_outlives_its_camera(rtsp_server: RtspServer, tmp_path: Path) -> None:
    bundle = tiny_bundle()
    deaths: list[int] = []

    def restart(progress: Any) -> None:
        if progress.camera_frame >= 8 and not deaths:
            deaths.append(progress.camera_frame)
            rtsp_server.kill()
            rtsp_server.start()

    settings = RunSettings(out=tmp_path, stride=4, max_frames=40)
    camera = CameraConfig(source=rtsp_server.url)
    done = run(camera, bundle, FakeBackend(bundle), settings, on_progress=restart)
    assert deaths
    assert done.summary.camera_frames == 40
    assert any("was lost once and reopened" in warning for warning in done.summary.warnings)
    assert done.facts.source.live


def test_a_wrong_path_fails_at_once(rtsp_server: RtspServer) -> None:
    started_s = time.monotonic()
    with pytest.raises(SourceError, match="404"):
        open_source(f"{rtsp_server.url}/nothing")
    assert time.monotonic() - started_s < 5


def test_a_stream_without_a_first_frame_does_not_open(rtsp_server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stprompt_edge.runtime.sources.ffmpeg.FIRST_FRAME_SECONDS", -math.inf)
    with pytest.raises(SourceError, match="no frame could be decoded in -inf s"):
        open_source(rtsp_server.url)
