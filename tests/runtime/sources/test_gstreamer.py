"""GStreamer pipelines as sources: on a scripted stand-in everywhere, and on the real one where it can be imported."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from stprompt_edge.errors import EnvironmentFailure, SourceError
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.frames import CameraFrame, Nv12Frame
from stprompt_edge.runtime.planes import PlanarFrame
from stprompt_edge.runtime.records import SourceInfo
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.sources.gstreamer import PictureLayout, import_gstreamer
from stprompt_edge.runtime.sources.live import LiveSource
from stprompt_edge.runtime.timing import peak_rss_mib
from stprompt_edge.runtime.watch import RunSettings, run
from tests.fakes.gst_module import Picture, Script, StateChangeReturn, install
from tests.needs import lacking
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture
from tests.runtime.tiny import tiny_bundle

DEBIAN_GI = Path("/usr/lib/python3/dist-packages/gi")
PIPELINE = "appsrc ! decoder"
FAILURE, SUCCESS, ASYNC, NO_PREROLL = StateChangeReturn
DOTS = bytes(range(16))  # two rows of two pixels, eight bytes apart


def read(pipeline: str, *, planar: bool = False, **timeouts: float) -> tuple[SourceInfo, list[CameraFrame], list[str]]:
    with open_source(pipeline, **timeouts) as source:
        source.planar = lambda index: planar
        frames = list(source.frames(lambda index: True))
        return source.info, frames, source.warnings


def dots(number: int = 0, **changes: Any) -> Picture:
    return Picture(**{"data": DOTS, "pts": number * 40_000_000, **changes})


# ---- how a picture lies in its buffer


@pytest.mark.parametrize("padding", [0, 3, 64])
@pytest.mark.parametrize("size_wh", [(1, 1), (3, 5), (64, 48), (641, 361)])
@pytest.mark.parametrize("kind", ["NV12", "I420"])
def test_planes_with_any_stride(kind: str, size_wh: tuple[int, int], padding: int) -> None:
    picture = nv12_picture(*size_wh, matrix="bt709", full_range=True)
    chroma = picture.chroma
    parts = [chroma.reshape(len(chroma), -1)] if kind == "NV12" else [chroma[:, :, 0], chroma[:, :, 1]]
    rows = [np.pad(part, ((0, 1), (0, padding)), constant_values=7) for part in (picture.luma, *parts)]
    layout = PictureLayout(
        format=kind,
        width=size_wh[0],
        height=size_wh[1],
        strides=tuple(part.shape[1] for part in rows),
        offsets=tuple(np.cumsum([0, *(part.size for part in rows)]).tolist()),
        matrix="bt709",
        full_range=True,
    )
    data = np.concatenate([part.ravel() for part in rows])
    found = layout.pixels(data)
    assert isinstance(found, Nv12Frame)
    np.testing.assert_array_equal(found.luma, picture.luma)
    np.testing.assert_array_equal(found.chroma, picture.chroma)
    assert found.colour == picture.colour
    assert layout.pixels(data[: layout.offsets[1]]) is None


@pytest.mark.parametrize(("kind", "channels"), [("BGR", 3), ("BGRx", 4)])
def test_packed_pictures(kind: str, channels: int) -> None:
    data = np.arange(60, dtype=np.uint8)
    layout = PictureLayout(
        format=kind, width=3, height=2, strides=(20,), offsets=(5,), matrix="bt601", full_range=False
    )
    found = layout.pixels(data)
    assert isinstance(found, np.ndarray)
    expected = np.stack([data[5 : 5 + 3 * channels], data[25 : 25 + 3 * channels]]).reshape(2, 3, channels)
    np.testing.assert_array_equal(found, expected[:, :, :3])
    assert layout.pixels(data[:30]) is None


# ---- on the stand-in


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    made = Script(plays=[dots(0), dots(1), dots(3)])
    install(monkeypatch, made)
    return made


def test_a_live_pipeline(script: Script) -> None:
    info, frames, warnings = read(PIPELINE)
    assert info == SourceInfo(
        name=PIPELINE, width=2, height=2, fps=25.0, frame_count=None, live=True, codec="GStreamer BGR"
    )
    assert [(frame.index, round(frame.seconds, 3)) for frame in frames] == [(0, 0.0), (1, 0.04), (2, 0.12)]
    assert frames[0].image_bgr.tolist() == [[[0, 1, 2], [3, 4, 5]], [[8, 9, 10], [11, 12, 13]]]
    assert (warnings, script.mapped) == ([], 0)
    assert [state.name for state in script.states] == ["PAUSED", "PLAYING", "NULL"]
    assert script.properties == {"drop": True}
    assert script.parsed.startswith(f"{PIPELINE} ! appsink name=")
    assert " sync=false max-buffers=2 " in script.parsed


@pytest.mark.parametrize(
    ("pipeline", "change", "heals"),
    [
        ("rtspsrc location=rtsp://host/filesrc ! decoder", NO_PREROLL, True),
        ("v4l2src device=/dev/video0 ! videoconvert", NO_PREROLL, True),
        ("nvarguscamerasrc ! nvvidconv", NO_PREROLL, True),
        ("nvarguscamerasrc num-buffers=9 ! nvvidconv", NO_PREROLL, False),
        ("videotestsrc is-live=true ! videoconvert", NO_PREROLL, False),
        ("filesrc location=a.mp4 ! decoder", SUCCESS, False),
        ("souphttpsrc location=http://host/a.mp4 ! decoder", SUCCESS, False),
    ],
)
def test_a_camera_heals_and_what_has_an_end_ends(
    script: Script, pipeline: str, change: StateChangeReturn, heals: bool
) -> None:
    script.changes = [change]
    with open_source(pipeline) as source:
        assert isinstance(source, LiveSource) is heals


@pytest.mark.parametrize("end", [" ! appsink", " ! appsink drop=true max-buffers=1", "\n!  appsink name=theirs"])
def test_their_appsink_is_replaced(script: Script, end: str) -> None:
    read(f"{PIPELINE}{end}")
    assert script.parsed.startswith(f"{PIPELINE} ! appsink name=stprompt_edge_sink ")


def test_a_file_prerolls_and_loses_nothing(script: Script) -> None:
    script.changes = [ASYNC, ASYNC, SUCCESS]
    info, frames, _ = read(PIPELINE)
    assert (info.live, len(frames), script.properties) == (False, 3, {"drop": False})


@pytest.mark.parametrize(("fps", "expected"), [((30, 1), 30.0), ((0, 1), 0.0), ((0, 0), 0.0)])
def test_rates(script: Script, fps: tuple[int, int], expected: float) -> None:
    script.plays = [dots(fps=fps)]
    assert read(PIPELINE)[0].fps == expected


def test_pictures_without_a_time_stamp(script: Script) -> None:
    script.plays = [dots(pts=2**64 - 1)] * 3
    assert [frame.seconds for frame in read(PIPELINE)[1]] == pytest.approx([0.0, 0.04, 0.08])


def test_the_video_meta_wins(script: Script) -> None:
    script.plays = [dots(strides=(6,), padded_strides=(8,))]
    assert read(PIPELINE)[1][0].image_bgr[1, 0].tolist() == [8, 9, 10]


def test_short_and_unreadable_pictures_are_counted(script: Script) -> None:
    script.plays = [dots(0), dots(1, data=b"short"), dots(2, readable=False), dots(3)]
    with open_source(PIPELINE) as source:
        assert [frame.index for frame in source.frames(lambda index: True)] == [0, 3]
        assert source.losses.undecodable_packets == 2


def test_a_picture_that_came_damaged_is_counted_and_not_given_out(script: Script) -> None:
    script.plays = [dots(0), dots(1, corrupt=True), dots(2)]
    with open_source(PIPELINE) as source:
        assert [frame.index for frame in source.frames(lambda index: True)] == [0, 2]
        assert source.losses.corrupt_frames == 1


@pytest.mark.parametrize(
    ("guess", "is_labelled", "matrix"),
    [("bt601", True, "bt601"), ("bt709", True, "bt709"), ("bt709", False, "bt601"), ("bt2020", False, "bt601")],
)
def test_a_matrix_that_nobody_states_is_bt601(script: Script, guess: str, is_labelled: bool, matrix: str) -> None:
    where = {"format": "NV12", "strides": (2, 2), "offsets": (0, 4)}
    script.plays = [dots(matrix=guess, is_labelled=is_labelled, **where)]
    pixels = read(PIPELINE, planar=True)[1][0].pixels
    assert isinstance(pixels, Nv12Frame)
    assert pixels.matrix == matrix


def test_frames_that_nobody_wants_are_not_looked_at(script: Script) -> None:
    script.plays = [dots(0), dots(1, data=b"short"), dots(2)]
    with open_source(PIPELINE) as source:
        assert [frame.index for frame in source.frames(lambda index: index != 1)] == [0, 2]
        assert source.losses.undecodable_packets == 0


def test_pauses_are_waited_for(script: Script) -> None:
    script.plays = [None, dots(0), None, None, dots(1)]
    assert len(read(PIPELINE)[1]) == 2


@pytest.mark.parametrize(
    ("pipeline", "changes", "message", "remedy"),
    [
        (PIPELINE, {"parse_error": "syntax error"}, "syntax error", "try it: gst-launch-1.0 appsrc ! decoder"),
        (PIPELINE, {"parse_error": 'no element "decoder"'}, 'no element "decoder"', "apt install .*plugins-bad"),
        (PIPELINE, {"parse_error": "could not link a to b"}, "could not link", "! videoconvert; try it"),
        ("x ! nvv4l2decoder", {"parse_error": "could not link a to b"}, "link", "! nvvidconv ! video/x-raw,format=NV1"),
        ("x ! video/x-raw(memory:NVMM)", {"parse_error": "could not link a to b"}, "link", "ordinary memory: ! nvvid"),
        (PIPELINE, {"changes": [FAILURE]}, "GStreamer: it does not start", "try it"),
        (PIPELINE, {"changes": [FAILURE], "early_error": "Not found."}, "GStreamer: src0: Not found.", "try it"),
        (PIPELINE, {"changes": [ASYNC], "early_error": "missing a plug-in."}, "missing a plug-in", "! videoconvert"),
        (PIPELINE, {"changes": [ASYNC]}, "GStreamer: no picture in time", "try it"),
        (PIPELINE, {"plays": [], "ends": False}, "GStreamer: no picture in time", "try it"),
        (PIPELINE, {"plays": []}, "the GStreamer pipeline ends without a picture", "try it"),
        (PIPELINE, {"plays": [None, "Refused."], "ends": False}, "src0: Refused.", "try it"),
        (PIPELINE, {"plays": [dots(format="NV12", matrix="bt2020")]}, "matrix bt2020", "! video/x-raw,format=BGR"),
        (
            "rtspsrc location=rtsp://me:secret@host/1 user-pw=secret ! d",
            {"parse_error": "cannot reach rtsp://me:secret@host/1"},
            r"cannot reach rtsp://me:\*\*\*@host/1",
            r"gst-launch-1.0 rtspsrc location=rtsp://me:\*\*\*@host/1 user-pw=\*\*\* ! d",
        ),
        (
            "rtspsrc location=rtsp://host/1 user-pw='my secret' ! d",
            {"early_error": 'could not set "user-pw" to "my secret"'},
            r'src0: could not set "user-pw" to "\*\*\*"',
            r"gst-launch-1.0 rtspsrc location=rtsp://host/1 user-pw=\*\*\* ! d",
        ),
    ],
)
def test_a_pipeline_that_does_not_start(
    script: Script, pipeline: str, changes: dict[str, Any], message: str, remedy: str
) -> None:
    vars(script).update(changes)
    with pytest.raises(SourceError, match=message) as failure:
        open_source(pipeline, open_timeout_s=0.05)
    assert failure.value.exit_code == 4
    assert re.search(remedy, failure.value.remedy)
    assert "secret" not in str(failure.value)
    assert script.parse_error or script.states[-1].name == "NULL"


def test_a_live_pipeline_that_falls_silent(script: Script) -> None:
    script.ends = False
    with open_source(PIPELINE, read_timeout_s=0.05) as source:
        frames = source.frames(lambda index: True)
        assert [next(frames).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceError, match="GStreamer: sends nothing any more"):
            next(frames)


def test_a_live_pipeline_that_fails(script: Script) -> None:
    script.plays.append("Could not read from resource.")
    with open_source(PIPELINE) as source:
        frames = source.frames(lambda index: True)
        assert [next(frames).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceError, match=r"src0: Could not read from resource\."):
            next(frames)


def test_a_file_that_fails_ends_with_a_warning(script: Script) -> None:
    script.changes = [SUCCESS]
    script.plays.append("Stream contains no data.")
    _, frames, warnings = read(PIPELINE)
    assert (len(frames), warnings) == (3, ["file is damaged: src0: Stream contains no data."])


def test_a_run_of_a_pipeline(script: Script, tmp_path: Path) -> None:
    where = {"strides": (2, 2), "offsets": (0, 4)}
    script.plays = [dots(number, format="NV12", **where) for number in range(9)]
    bundle = tiny_bundle()
    camera = CameraConfig(source="rtspsrc location=rtsp://me:secret@host/1 ! decoder")
    settings = RunSettings(out=tmp_path, save_video=False, stride=4, max_frames=9)
    done = run(camera, bundle, FakeBackend(bundle), settings)
    assert (done.summary.sampled_frames, done.facts.source.live) == (3, True)
    assert "secret" not in "".join(path.read_text() for path in done.files)


def test_close_may_come_twice(script: Script) -> None:
    source = open_source(PIPELINE)
    source.close()
    source.close()


def test_without_pygobject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(EnvironmentFailure, match="needs PyGObject and GStreamer") as failure:
        open_source(PIPELINE)
    assert "sudo apt install python3-gi gir1.2-gstreamer-1.0" in failure.value.remedy
    assert "--system-site-packages" in failure.value.remedy


@pytest.mark.parametrize("namespace", ["Gst", "GstApp", "GstVideo"])
def test_without_gstreamers_descriptions(monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    install(monkeypatch, Script(), missing=namespace)
    with pytest.raises(EnvironmentFailure, match=f"Namespace {namespace} not available") as failure:
        open_source(PIPELINE)
    assert "gir1.2-gst-plugins-base-1.0" in failure.value.remedy


# ---- on the real one

REAL = pytest.mark.filterwarnings("ignore::ImportWarning", "ignore::DeprecationWarning")  # PyGObject's own
TEST = "videotestsrc num-buffers={frames} ! video/x-raw,format={kind},width={width},height={height},framerate=10/1"
BT709 = ",colorimetry=bt709"


@pytest.fixture(scope="module")
def gstreamer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The real bindings: this environment's, or Debian's where they were built for this Python."""
    folder = tmp_path_factory.mktemp("gi")
    version = "".join(platform.python_version_tuple()[:2])
    if list(DEBIAN_GI.glob(f"_gi.cpython-{version}-*.so")):
        (folder / "gi").symlink_to(DEBIAN_GI)
    sys.path.append(str(folder))
    try:
        import_gstreamer()
    except EnvironmentFailure as exc:
        lacking(exc.what)
    finally:
        sys.path.remove(str(folder))


@REAL
@pytest.mark.parametrize("size_wh", [(320, 240), (641, 361), (1280, 720)])
@pytest.mark.parametrize("kind", ["NV12", "I420", "BGR", "BGRx"])
def test_real_pictures_on_both_ways(gstreamer: None, kind: str, size_wh: tuple[int, int]) -> None:
    """The seven bars of the test picture: their colours are known."""
    text = TEST.format(frames=2, kind=kind, width=size_wh[0], height=size_wh[1])
    text += BT709 if size_wh[1] >= 720 and kind in ("NV12", "I420") else ""
    info, pictures, _ = read(text)
    _, planes, _ = read(text, planar=True)
    assert (info.width, info.height, info.fps, info.live) == (*size_wh, 10.0, False)
    assert [frame.seconds for frame in pictures] == pytest.approx([0.0, 0.1])
    bars = [(255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 255, 0), (255, 0, 255), (0, 0, 255), (255, 0, 0)]
    for picture, planar in zip(pictures, planes, strict=True):
        assert isinstance(planar, PlanarFrame) == (kind in ("NV12", "I420"))
        pixels = planar.pixels
        if isinstance(pixels, Nv12Frame):
            assert pixels.matrix == ("bt709" if size_wh[1] >= 720 else "bt601")
            pixels = nv12_to_bgr(pixels)
        np.testing.assert_array_equal(planar.image_bgr, picture.image_bgr)
        for number, bar in enumerate(bars):
            place = 20, int((number + 0.5) * size_wh[0] / 7)
            for image in (picture.image_bgr, pixels):
                assert np.abs(image[place].astype(int) - bar).max() <= 4, (kind, number)


@REAL
def test_full_range_is_told(gstreamer: None) -> None:
    text = "videotestsrc num-buffers=1 ! video/x-raw,format=NV12,colorimetry=(string)1:4:5:1 ! identity"
    frame = read(text, planar=True)[1][0]
    assert isinstance(frame.pixels, Nv12Frame)
    assert (frame.pixels.matrix, frame.pixels.full_range) == ("bt601", True)


@REAL
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("size_wh", [(704, 576), (1920, 1080), (3840, 2160), (64, 2162)])
@pytest.mark.parametrize("kind", ["NV12", "I420"])
def test_colours_are_those_of_pyav(gstreamer: None, kind: str, size_wh: tuple[int, int], labelled: bool) -> None:
    """Of the same planes: BT.601 where nothing says the matrix, whatever GStreamer guesses by the height."""
    text = TEST.format(frames=1, kind=kind, width=size_wh[0], height=size_wh[1]) + (BT709 if labelled else "")
    (picture,), (planar,) = read(text)[1], read(text, planar=True)[1]
    assert isinstance(planar.pixels, Nv12Frame)
    assert (planar.pixels.matrix, planar.pixels.full_range) == ("bt709" if labelled else "bt601", False)
    decoded = av.VideoFrame(*size_wh, "yuv420p")
    values = (planar.pixels.luma, planar.pixels.chroma[:, :, 0], planar.pixels.chroma[:, :, 1])
    for plane, value in zip(decoded.planes, values, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : value.shape[1]] = value
        plane.update(rows.tobytes())
    if labelled:
        decoded.colorspace = Colorspace.ITU709
    expected = decoded.to_ndarray(format="bgr24")
    np.testing.assert_array_equal(picture.image_bgr, expected)
    np.testing.assert_array_equal(planar.image_bgr, expected)


@REAL
def test_a_real_live_pipeline(gstreamer: None) -> None:
    with open_source("videotestsrc is-live=true ! video/x-raw,format=NV12,framerate=50/1") as source:
        frames = source.frames(lambda index: True)
        assert [next(frames).index for _ in range(3)] == [0, 1, 2]
        assert source.info.live


@REAL
@pytest.mark.parametrize(
    ("pipeline", "message", "remedy"),
    [
        ("videotestsrc ! nosuchthing ! identity", 'no element "nosuchthing"', "gst-inspect-1.0 nosuchthing"),
        ("videotestsrc ! ! identity", "syntax error", "try it"),
        ("videotestsrc colour=1 ! identity", 'no property "colour"', "try it"),
        ("audiotestsrc ! audioconvert", "could not link", "! videoconvert"),
        ("videotestsrc ! video/x-raw(memory:NVMM),format=NV12", "could not link", "! nvvidconv ! video/x-raw,format"),
        ("filesrc location=/nowhere ! decodebin", "filesrc0?.*not found", "try it"),
        ("videotestsrc num-buffers=0 ! videoconvert", "ends without a picture", "try it"),
        ("videotestsrc is-live=true ! identity drop-probability=1", "no picture in time", "try it"),
        ("videotestsrc ! video/x-raw,format=NV12,colorimetry=bt2020 ! identity", "matrix bt2020", "format=BGR"),
    ],
)
def test_a_real_pipeline_that_does_not_start(gstreamer: None, pipeline: str, message: str, remedy: str) -> None:
    with pytest.raises(SourceError, match=message) as failure:
        open_source(pipeline, open_timeout_s=1.0)
    assert re.search(remedy, failure.value.remedy)


@REAL
def test_a_real_pipeline_that_falls_silent(gstreamer: None) -> None:
    receiving, sending = os.pipe()
    try:
        os.write(sending, bytes(3 * 32 * 16 * 3))
        text = f"fdsrc fd={receiving} ! rawvideoparse width=32 height=16 format=bgr framerate=10/1"
        with open_source(text, read_timeout_s=0.3) as source:
            seen = []
            with pytest.raises(SourceError, match="sends nothing any more"):  # noqa: PT012
                for frame in source.frames(lambda index: True):
                    seen.append(frame.index)
            os.close(sending)
            assert seen == [0, 1, 2]
    finally:
        os.close(receiving)


@REAL
def test_a_real_pipeline_that_fails_midway(gstreamer: None) -> None:
    text = "videotestsrc {} ! video/x-raw,framerate=10/1 ! identity error-after=4 ! videoconvert"
    with (
        open_source(text.format("is-live=true")) as source,
        pytest.raises(SourceError, match="Failed after iterations"),
    ):
        list(source.frames(lambda index: True))
    _, frames, warnings = read(text.format(""))
    assert len(frames) in (2, 3)
    assert len(warnings) == 1
    assert warnings[0].startswith("file is damaged: identity")


@REAL
def test_memory_stays_flat(gstreamer: None) -> None:
    text = TEST.format(frames=600, kind="NV12", width=640, height=360)
    with open_source(text) as source:
        source.planar = lambda index: True
        frames = source.frames(lambda index: True)
        for _ in range(100):
            next(frames)
        before_mib = peak_rss_mib()
        assert len(list(map(lambda frame: frame.index, frames))) == 500  # of 0.35 MB each
        assert peak_rss_mib() - before_mib < 40
