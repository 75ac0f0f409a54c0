"""Files of the kinds that people report, made by ffmpeg, which also says what is in them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.sources import open_source
from tests.ffmpeg import bgr_frame, ffmpeg, grey_frames, made, needs_ffmpeg, probed_packets, probed_times

pytestmark = needs_ffmpeg
ODD = Path(__file__).parents[3] / "../shared/data/odd"
SIZE_WH = (160, 120)
TS_PACKET = 188
H264 = ("-c:v", "libx264", "-g", "50")
HEVC = ("-c:v", "libx265", "-x265-params", "log-level=none:keyint=50")


def everything(index: int) -> bool:
    return True


def read(path, **options):
    """(source after reading, its frames)."""
    with open_source(str(path), **options) as source:
        return source, list(source.frames(everything))


def grey(frame) -> np.ndarray:
    return cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY)


def odd(name: str) -> Path:
    if not (ODD / name).exists():
        pytest.skip(f"no {name}: the shared test footage is not here")
    return ODD / name


# --- frames that are lost or broken ----------------------------------------------------------------------------------


def without_packets(path: Path, first: int, count: int) -> Path:
    data = path.read_bytes()
    lost = path.with_name(f"lost-{path.name}")
    lost.write_bytes(data[: first * TS_PACKET] + data[(first + count) * TS_PACKET :])
    return lost


def with_noise(path: Path, share: float) -> Path:
    """A few hundred bytes overwritten at a place in the file."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    data[start : start + 300] = bytes((91 * place + 7) % 256 for place in range(300))
    broken = path.with_name(f"noise-{path.name}")
    broken.write_bytes(data)
    return broken


@pytest.mark.parametrize(
    ("name", "options", "damage", "unnoticed"),  # the last: frames before the one where FFmpeg notices
    [
        ("a.ts", H264, lambda path: without_packets(path, 500, 1), 0),
        ("a.ts", (*H264, "-bf", "0"), lambda path: without_packets(path, 700, 40), 0),
        ("a.ts", HEVC, lambda path: without_packets(path, 400, 1), 0),
        ("a.ts", HEVC, lambda path: without_packets(path, 400, 60), 0),
        ("a.ts", ("-c:v", "mpeg2video", "-g", "25"), lambda path: without_packets(path, 700, 5), 0),
        ("a.mkv", H264, lambda path: with_noise(path, 0.4), 4),
        ("a.mp4", (*H264, "-movflags", "faststart"), lambda path: with_noise(path, 0.5), 4),
        ("a.avi", ("-c:v", "mpeg4", "-g", "50"), lambda path: with_noise(path, 0.5), 4),
    ],
)
def test_broken_frames_are_not_given_out_and_gaps_are_told(tmp_path, name, options, damage, unnoticed):
    whole = made(tmp_path / name, *options)
    truth = grey_frames(whole, SIZE_WH)
    source, frames = read(damage(whole))
    losses = source.losses
    wrong = [
        frame.seconds
        for frame in frames
        if np.abs(grey(frame).astype(int) - truth[round(frame.seconds * 25)]).mean() > 4
    ]
    assert len(wrong) <= unnoticed, wrong
    counted = len(frames) + losses.corrupt_frames + losses.concealed_frames + losses.missing_frames
    assert len(frames) < 150
    assert 148 <= counted <= 152  # after a loss FFmpeg may give the last packet a stamp of its own making
    assert len(source.warnings) == 1
    assert source.warnings[0].startswith("file is damaged: ")
    assert " s" in source.warnings[0].partition("(")[2], "it says where"


@pytest.mark.parametrize("name", ["a.ts", "a.mp4", "a.mkv", "a.avi", "a.flv"])
@pytest.mark.parametrize("options", [H264, (*H264, "-bf", "0", "-x264-params", "intra-refresh=1"), ("-c:v", "mpeg4")])
def test_whole_files_have_no_losses(tmp_path, name, options):
    if name == "a.flv" and "mpeg4" in options:
        pytest.skip("FLV takes no MPEG-4")
    path = made(tmp_path / name, *options)
    source, frames = read(path)
    times = [index / 25 for index in range(150)] if name == "a.avi" else probed_times(path)  # ffprobe tells none of AVI
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=2e-3)
    assert (len(frames), source.warnings) == (150, [])
    assert source.info.fps == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("name", "step_s", "count"), [("a.mp4", 1, 20), ("a.ts", 1, 20), ("a.mkv", 60, 12), ("b.mp4", 120, 12)]
)
def test_slow_files_have_no_losses(tmp_path, name, step_s, count):
    """A decoder holds its last frames back, which are seconds or minutes here, and part of a second on many cores."""
    source = ("-f", "lavfi", "-i", f"testsrc2=size=160x120:rate=1/{step_s}", "-frames:v", str(count))
    path = ffmpeg(*source, "-pix_fmt", "yuv420p", "-c:v", "libx264", tmp_path / name)
    source, frames = read(path)
    assert [frame.seconds for frame in frames] == pytest.approx([index * step_s for index in range(count)], abs=2e-3)
    assert (len(frames), source.warnings) == (count, [])


@pytest.mark.parametrize(("name", "codec"), [("a.m1v", "mpeg1video"), ("a.m2v", "mpeg2video"), ("a.obu", "libaom-av1")])
def test_bare_streams_of_other_codecs(tmp_path, name, codec):
    source, frames = read(made(tmp_path / name, "-c:v", codec, *(["-cpu-used", "8"] if "aom" in codec else [])))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 25 for index in range(150)])
    assert source.warnings == []


@pytest.mark.parametrize("left", [0.5, 0.9, 0.97])
def test_an_mp4_whose_index_is_cut(tmp_path, left):
    path = made(tmp_path / "a.mp4", *H264)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    with pytest.raises(SourceError, match="the file's index is missing"):
        open_source(str(path))


@pytest.mark.parametrize("options", [H264, HEVC, ("-c:v", "mpeg2video", "-g", "25")])
def test_recordings_that_were_joined_are_whole(tmp_path, options):
    data = made(tmp_path / "one.ts", *options).read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(data + data)
    source, frames = read(path)
    assert (len(frames), source.warnings) == (300, [])
    assert frames[-1].seconds == pytest.approx(11.96, abs=0.1)


def test_h265_with_one_packet_lost():
    source, frames = read(odd("hevc_loss1.ts"))
    assert source.losses.missing_frames == 39  # 150 less 111 that FFmpeg 8 gives
    assert 105 < len(frames) <= 111
    assert "39 frames missing (1.40 to 3.00 s)" in source.warnings[0]


# --- which stream ----------------------------------------------------------------------------------------------------


def joined(path: Path, *inputs: Path, options: tuple[str, ...] = ()) -> Path:
    arguments = [text for given in inputs for text in ("-i", str(given))]
    maps = [text for place in range(len(inputs)) for text in ("-map", str(place))]
    return ffmpeg(*arguments, *maps, "-c", "copy", *options, path)


def pictures(folder: Path, size: str, frames: int, codec: str = "libx264") -> Path:
    path = folder / f"{size}-{frames}-{codec}.mkv"
    source = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25")
    return ffmpeg(*source, "-frames:v", str(frames), "-c:v", codec, "-pix_fmt", "yuvj420p", path)


@pytest.mark.parametrize(
    ("inputs", "options", "name", "chosen"),
    [
        ([("80x60", 1, "mjpeg"), ("160x120", 25)], (), "a.mp4", 1),
        ([("320x240", 1, "mjpeg"), ("160x120", 25)], (), "a.mp4", 1),  # a poster, larger than the video
        ([("80x60", 25), ("160x120", 25)], ("-disposition", "default"), "a.mp4", 1),
        ([("160x120", 25), ("80x60", 25)], ("-disposition", "default"), "a.mp4", 0),
        ([("160x120", 25), ("80x60", 25)], ("-disposition:0", "0", "-disposition:1", "default"), "a.mkv", 1),
        ([("160x120", 25), ("80x60", 1, "mjpeg")], ("-disposition:1", "attached_pic"), "a.mp4", 0),
        ([("80x60", 1, "mjpeg"), ("160x120", 25)], ("-disposition:0", "attached_pic"), "a.mp4", 1),
    ],
)
def test_the_stream_that_a_player_shows(tmp_path, inputs, options, name, chosen):
    files = [pictures(tmp_path, *given) for given in inputs]
    path = joined(tmp_path / name, *files, options=options)
    source, frames = read(path)
    assert f"{source.info.width}x{source.info.height}" == inputs[chosen][0]
    assert len(frames) == inputs[chosen][1]
    assert source.warnings == [] or (len(source.warnings) == 1 and f", {chosen} is watched" in source.warnings[0])
    other = 1 - chosen
    if "attached_pic" not in options:
        assert len(source.warnings) == 1
        wanted, _ = read(path, stream=other)
        assert f"{wanted.info.width}x{wanted.info.height}" == inputs[other][0]
        assert wanted.warnings == []


@pytest.mark.parametrize(
    ("stream", "message"),
    [(1, "no video stream 1\n  fix: it has: 0 h264 160x120, 1 audio aac"), (7, "no video stream 7\n  fix: it has")],
)
def test_a_stream_that_is_no_video(tmp_path, stream, message):
    sound = ("-f", "lavfi", "-i", "sine=duration=6", "-c:a", "aac", "-shortest")
    path = ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=6", *sound, *H264, tmp_path / "a.mp4")
    with pytest.raises(SourceError, match=message):
        open_source(str(path), stream=stream)


def test_music_with_a_cover_has_no_video(tmp_path):
    sound = ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", tmp_path / "a.m4a")
    cover = pictures(tmp_path, "80x60", 1, "mjpeg")
    path = joined(tmp_path / "b.m4a", sound, cover, options=("-disposition:v", "attached_pic"))
    with pytest.raises(SourceError, match="no video stream, only a cover picture or thumbnails and audio"):
        open_source(str(path))


# --- when frames are shown -------------------------------------------------------------------------------------------


def restamped(path: Path, target: Path, shift: Callable[[int], float], *, pts_only: bool = False) -> Path:
    """A copy of a file without B-frames whose packets are so many seconds late."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        packets = (packet for packet in source.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            ticks = round(shift(number) / packet.time_base)
            packet.pts += ticks
            packet.dts += 0 if pts_only else ticks
            packet.stream = stream
            copy.mux(packet)
    return target


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.nut", "a.ts"])
@pytest.mark.parametrize(("place", "late_s"), [(60, 10_800.0), (60, 5.0), (90, 20_000.0), (149, 10_800.0)])
def test_one_late_stamp_makes_no_other_frame_late(tmp_path, name, place, late_s):
    path = made(tmp_path / "whole.mkv", *H264, "-bf", "0")
    path = restamped(path, tmp_path / name, lambda number: late_s * (number == place), pts_only=True)
    _, frames = read(path)
    assert [frame.seconds for frame in frames] == pytest.approx([index / 25 for index in range(150)], abs=0.021)


@pytest.mark.parametrize(("name", "jump_s"), [("a.mkv", 7_200.0), ("a.ts", 24_120.0), ("a.mp4", 90.0)])
def test_time_follows_a_jump_of_several_frames(tmp_path, name, jump_s):
    path = made(tmp_path / "whole.mkv", *H264, "-bf", "0")
    path = restamped(path, tmp_path / name, lambda number: jump_s * (number >= 75))
    source, frames = read(path)
    expected = [index / 25 + (index >= 75) * jump_s for index in range(150)]
    assert [frame.seconds for frame in frames] == pytest.approx(expected, abs=2e-3)
    assert source.warnings == [f"time jumps from 2.96 to {jump_s + 3:.2f} s"]


def test_the_reported_jump():
    source, frames = read(odd("jump_6.7h.ts"))
    assert frames[-1].seconds == pytest.approx(probed_times(odd("jump_6.7h.ts"))[-1], abs=0.01)
    assert np.all(np.diff([frame.seconds for frame in frames]) > 0)
    assert source.warnings == ["time jumps from 0.84 to 24120.88 s"]


def test_the_reported_late_stamp():
    _, frames = read(odd("mkv_outlier.mkv"))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 25 for index in range(150)], abs=2e-3)


@pytest.mark.parametrize("codec", [H264, ("-c:v", "mpeg4", "-bf", "2"), ("-c:v", "mjpeg")])
def test_frames_of_an_avi_come_one_after_the_other(tmp_path, codec):
    """AVI stores the order of coding alone."""
    _, frames = read(made(tmp_path / "a.avi", *codec))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 25 for index in range(150)])


@pytest.mark.parametrize("rate", ["12.5", "25", "50"])
def test_a_bare_h264_stream_keeps_the_rate_it_states(tmp_path, rate):
    path = made(tmp_path / "a.h264", "-r", rate, *H264)
    source, frames = read(path)
    assert source.info.fps == pytest.approx(float(rate))
    assert frames[-1].seconds == pytest.approx((len(frames) - 1) / float(rate))


@pytest.mark.parametrize(
    ("name", "options", "assumed"),
    [("a.mjpeg", ("-c:v", "mjpeg"), True), ("a.h264", H264, False), ("a.hevc", HEVC, False)],
)
def test_a_stream_without_a_clock_takes_a_rate(tmp_path, name, options, assumed):
    path = made(tmp_path / name, *options)
    source, frames = read(path)
    assert (source.info.fps, source.info.fps_assumed) == (pytest.approx(25.0), assumed)
    assert frames[-1].seconds == pytest.approx(5.96)
    source, frames = read(path, fps=10)
    assert (source.info.fps, source.info.fps_assumed) == (10.0, False)
    assert frames[-1].seconds == pytest.approx(14.9)


# --- whole files are not called truncated ----------------------------------------------------------------------------


def cut_out(path: Path, *options: str) -> Path:
    whole = made(path.with_name("whole.mkv"), *H264)
    return ffmpeg("-ss", "2", "-i", whole, "-t", "2", "-c", "copy", *options, path)


def with_longer_sound(path: Path) -> Path:
    sound = ("-f", "lavfi", "-i", "sine=duration=9", "-c:a", "aac")
    return ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=6", *sound, *H264, path)


def of_variable_rate(path: Path) -> Path:
    """Twenty-five frames a second, then one in three of them."""
    whole = made(path.with_name("whole.mkv"), *H264)
    keep = ("-vf", "select='lt(t,3.5)+not(mod(n,3))'", "-fps_mode", "vfr", "-enc_time_base", "1/600")
    return ffmpeg("-i", whole, *keep, "-c:v", "mjpeg", "-q:v", "5", path)


@pytest.mark.parametrize(
    ("name", "write", "fps"),
    [
        ("a.mkv", lambda path: cut_out(path, "-copyts"), 25),
        ("a.ts", lambda path: cut_out(path, "-copyts"), 25),
        ("a.mp4", cut_out, 25),  # an edit list
        ("a.mkv", with_longer_sound, 25),
        ("a.mp4", with_longer_sound, 25),
        ("a.flv", with_longer_sound, 25),
        ("a.avi", of_variable_rate, 25),
        ("a.mkv", of_variable_rate, 25),
        ("a.mov", of_variable_rate, 25),
        ("a.mjpeg", lambda path: made(path, "-c:v", "mjpeg"), 25),
        ("a.m2v", lambda path: made(path, "-c:v", "mpeg2video"), 25),
        ("a.mpg", lambda path: made(path, "-c:v", "mpeg2video"), 25),
        ("a.gif", lambda path: made(path, "-vf", "fps=10,format=rgb8"), 10),
    ],
)
def test_a_whole_file_is_not_called_damaged(tmp_path, name, write, fps):
    path = write(tmp_path / name)
    source, frames = read(path)
    assert source.warnings == []
    assert len(frames) in (probed_packets(path), 150)  # Debian's ffprobe counts one more in a raw stream
    assert source.info.fps == pytest.approx(fps, rel=0.02)


@pytest.mark.parametrize(
    ("name", "frames"), [("seg1.mkv", 50), ("elst_mid.mp4", 25), ("vfr2.avi", 76), ("nodur.mkv", 150)]
)
def test_reported_files_are_whole(name, frames):
    source, got = read(odd(name))
    assert (len(got), source.warnings, source.info.fps) == (frames, [], 25.0)


def test_a_recording_that_begins_between_key_frames_keeps_a_players_time(tmp_path):
    for path, first_s in ((odd("hevc_midgop.ts"), 1.40),):
        source, frames = read(path)
        assert (len(frames), frames[0].seconds) == (75, pytest.approx(first_s, abs=0.05))
        assert source.warnings == ["file begins between key frames: its first 1.40 s cannot be decoded"]


@pytest.mark.parametrize("options", [H264, ("-c:v", "mpeg2video", "-g", "100"), HEVC])
def test_a_stream_cut_at_its_head(tmp_path, options):
    whole = made(tmp_path / "whole.ts", *options)
    data = whole.read_bytes()
    path = tmp_path / "tail.ts"
    path.write_bytes(
        data[: 3 * TS_PACKET] + data[len(data) // TS_PACKET * 4 // 10 * TS_PACKET :]
    )  # its tables, its rest
    source, frames = read(path)
    truth = grey_frames(whole, SIZE_WH)
    first = 150 - round((frames[-1].seconds - frames[0].seconds) * 25) - 1
    for frame in frames:
        place = first + round((frame.seconds - frames[0].seconds) * 25)
        assert np.abs(grey(frame).astype(int) - truth[place]).mean() < 4, frame.seconds
    assert frames[0].seconds > 0.5
    assert any("begins between key frames" in line for line in source.warnings)
    assert not any("truncated" in line for line in source.warnings)


# --- turned and mirrored ---------------------------------------------------------------------------------------------

ORIENTATIONS = [(a, b, c, d) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) for d in (-1, 0, 1)]
ORIENTATIONS = [m for m in ORIENTATIONS if abs(m[0] * m[3] - m[1] * m[2]) == 1 and sum(map(abs, m)) == 2]


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_all_eight_orientations_are_ffmpegs_own(tmp_path, matrix):
    assert len(ORIENTATIONS) == 8
    path = made(tmp_path / "a.mp4", *H264, "-frames:v", "2")
    a, b, c, d = matrix
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    place = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:place] + turned + data[place + len(turned) :])
    source, frames = read(path)
    truth = bgr_frame(path, (source.info.width, source.info.height))
    assert (source.info.width, source.info.height) == (SIZE_WH if a else SIZE_WH[::-1])
    assert np.abs(frames[0].image_bgr.astype(int) - truth).mean() < 3


def test_a_mirrored_file():
    path = odd("m_hflip.mp4")
    truth = bgr_frame(path, (320, 180))
    assert np.abs(read(path)[1][0].image_bgr.astype(int) - truth).mean() < 3
