"""Every kind of source, ordinary, odd and damaged."""

import http.server
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.sources import expected_frames, open_source
from tests import videos

DATA = Path(__file__).parents[3] / "../shared/data"
BLUE, RED = (255, 0, 0), (0, 0, 255)


def everything(index: int) -> bool:
    return True


def read_all(path, **options):
    """(info, frames, undecodable packets, warnings) of a whole source."""
    with open_source(str(path), **options) as source:
        frames = list(source.frames(everything))
        return source.info, frames, source.losses.undecodable_packets, source.warnings


def is_near(pixel, colour) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 12)


@pytest.mark.parametrize("frames", [1, 2, 20])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")]
)
def test_a_healthy_file_gives_all_its_frames_in_order(tmp_path, frames, name, codec):
    info, got, undecodable, warnings = read_all(videos.write_video(tmp_path / name, frames=frames, codec=codec))
    assert (info.width, info.height, info.fps, info.live) == (64, 48, 10.0, False)
    assert info.frame_count in (None, frames)
    assert [frame.index for frame in got] == list(range(frames))
    assert [frame.seconds for frame in got] == pytest.approx([index / 10 for index in range(frames)])
    assert (undecodable, warnings) == (0, [])
    assert all(frame.image_bgr.shape == (48, 64, 3) and frame.image_bgr.dtype == np.uint8 for frame in got)
    assert is_near(got[0].image_bgr[2, 2], BLUE)
    assert is_near(got[0].image_bgr[-2, -2], RED)


def test_info_names_what_the_user_typed(tmp_path):
    path = videos.write_video(tmp_path / "a.mp4", frames=3)
    info = read_all(path)[0]
    assert (info.name, info.codec, info.frame_count) == (str(path), "h264", 3)
    assert read_all(f"file:{path}")[0].name == f"file:{path}"
    assert read_all(f"file://{path}")[0].frame_count == 3


def test_only_wanted_frames_are_converted_and_indices_stay(tmp_path, monkeypatch):
    from stprompt_edge.runtime import planes

    converted = []
    upright = planes.upright_bgr
    monkeypatch.setattr(planes, "upright_bgr", lambda frame: converted.append(frame.pts) or upright(frame))
    with open_source(str(videos.write_video(tmp_path / "a.mp4"))) as source:
        got = list(source.frames(lambda index: index % 8 == 0))
    assert [frame.index for frame in got] == [0, 8, 16]
    assert [frame.image_bgr[0, 0, 1] // 8 for frame in got] == pytest.approx([0, 8, 16], abs=1)
    assert len(converted) == 3


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (17, 3), (641, 359)])
def test_odd_sizes(tmp_path, size_wh):
    info, got, *_ = read_all(videos.write_odd_size(tmp_path / "odd.webm", size_wh))
    assert (info.width, info.height) == size_wh
    assert len(got) == 3
    assert got[0].image_bgr.shape == (*size_wh[::-1], 3)
    assert got[0].image_bgr.flags.c_contiguous
    if size_wh[0] > 100:
        assert is_near(got[0].image_bgr[2, 2], BLUE)


@pytest.mark.parametrize(
    ("clockwise", "size_wh", "blue_side"),
    [(0, (64, 48), "top"), (90, (48, 64), "right"), (180, (64, 48), "bottom"), (270, (48, 64), "left")],
)
def test_rotation_metadata_is_applied(tmp_path, clockwise, size_wh, blue_side):
    info, got, *_ = read_all(videos.write_rotated(tmp_path / "r.mp4", clockwise))
    image = got[0].image_bgr
    assert (info.width, info.height) == size_wh == image.shape[1::-1]
    sides = {"top": image[2, 20], "bottom": image[-3, 20], "left": image[20, 2], "right": image[20, -3]}
    assert is_near(sides[blue_side], BLUE)
    opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}[blue_side]
    assert is_near(sides[opposite], RED)


def test_8k(tmp_path):
    info, got, *_ = read_all(videos.write_8k(tmp_path / "8k.mkv"))
    assert (info.width, info.height, len(got)) == (7680, 4320, 1)
    assert is_near(got[0].image_bgr[0, 0], BLUE)


def test_gif(tmp_path):
    info, got, *_ = read_all(videos.write_gif(tmp_path / "a.gif"))
    assert (len(got), info.fps, info.codec) == (5, 10.0, "gif")
    assert is_near(got[0].image_bgr[0, 0], BLUE)


def test_the_receiver_owns_the_image_even_without_conversion(tmp_path):
    path = videos.write_video(tmp_path / "raw.avi", codec="rawvideo", pixel_format="bgr24", frames=3)
    with open_source(str(path)) as source:
        for frame in source.frames(everything):
            assert is_near(frame.image_bgr[0, 0], (255, frame.index * 8, 0))
            assert frame.image_bgr.flags.owndata
            frame.image_bgr[:] = 0


def test_variable_rate_gives_real_times(tmp_path):
    got = read_all(videos.write_variable_rate(tmp_path / "vfr.mp4"))[1]
    assert [frame.seconds for frame in got] == pytest.approx([0.0, 0.1, 0.5, 0.6, 2.0], abs=1e-3)


def test_a_name_that_looks_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    videos.write_video(tmp_path / "a.mp4", frames=2).rename(tmp_path / "cam1:door.mp4")
    assert len(read_all("cam1:door.mp4")[1]) == 2


def test_close_may_come_early_and_twice(tmp_path):
    source = open_source(str(videos.write_video(tmp_path / "a.mp4")))
    assert next(source.frames(everything)).index == 0
    source.close()
    source.close()


# --- damaged files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder / "missing.mp4", "no such file: .*missing.mp4"),
        (lambda folder: videos.write_empty(folder / "e.mp4"), r"e.mp4 is empty \(0 bytes\)"),
        (lambda folder: videos.write_text_as_video(folder / "t.mp4"), "t.mp4 is not a video that FFmpeg knows"),
        (lambda folder: videos.write_text_as_video(folder / "t.txt"), "t.txt is text, not a video"),
        (lambda folder: videos.write_audio_only(folder / "a.m4a"), "a.m4a has no video stream, only audio"),
        (
            lambda folder: videos.write_truncated(folder / "t.mp4", index_in_front=False),
            r"the file's index is missing \(interrupted recording\)\n  fix: .*fragmented mp4",
        ),
        (
            lambda folder: videos.write_truncated(folder / "t.mp4", index_in_front=True, keep=0.05),
            "no frame of .*t.mp4 could be decoded\n  fix: ",
        ),
        (
            lambda folder: videos.write_unknown_codec(folder / "u.mp4"),
            "u.mp4: damaged in its first frame, or of an unknown codec",
        ),
        (lambda folder: folder, "no images .* in folder"),
    ],
)
def test_a_file_that_is_no_video_is_one_clear_error(tmp_path, write, message, capfd):
    with pytest.raises(SourceError, match=message):
        open_source(str(write(tmp_path)))
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(SourceError, match=r"did you mean '.*/clip.mp4'\?"):
        open_source(str(tmp_path / "clop.mp4"))


def test_no_permission(tmp_path, monkeypatch):
    path = videos.write_video(tmp_path / "a.mp4", frames=1)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything

        def refuse(*_args, **_kwargs):
            raise PermissionError

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"no permission to read .*a.mp4"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("t.mp4", r"file is truncated: 1\d frames decoded, up to 1\.\d s of 4\.0 s"),
        ("t.mkv", r"file is truncated: [12]\d frames decoded, up to [12]\.\d s of 4\.0 s"),
        ("t.avi", r"file is truncated: its last frame, at 1\.8 s, is cut"),  # FFmpeg corrects the length in its header
    ],
)
def test_a_truncated_file_gives_what_is_there_and_says_what_is_lost(tmp_path, name, warning, capfd):
    _, got, _, warnings = read_all(videos.write_truncated(tmp_path / name, index_in_front=True))
    assert 10 < len(got) < 25
    assert [frame.index for frame in got] == list(range(len(got)))
    assert np.all(np.diff([frame.seconds for frame in got]) > 0)
    assert re.fullmatch(warning, warnings[0])
    assert capfd.readouterr() == ("", "")


def test_damage_in_the_middle_is_counted_and_decoding_goes_on(tmp_path, capfd):
    _, got, undecodable, warnings = read_all(videos.write_corrupted(tmp_path / "c.mp4"))
    assert undecodable >= 1
    assert 25 < len(got) < 40
    assert got[-1].seconds > 3.0
    assert len(warnings) == 1
    assert re.fullmatch(
        r"file is damaged: \d frames missing \(1\.60 to .* s\), \d concealed frames not scored \(1\.60 to .* s\), "
        f"{undecodable} packets undecodable",
        warnings[0],
    )
    assert capfd.readouterr() == ("", "")


def gives_frames_or_says_why_not(path) -> bool:
    try:
        _, got, _, warnings = read_all(path)
        return bool(got or warnings)
    except SourceError as exc:
        return str(path) in exc.what


def test_a_file_cut_anywhere_gives_frames_or_says_why_not(tmp_path):
    whole = videos.write_video(tmp_path / "whole.mp4", frames=8, container_options=videos.FASTSTART).read_bytes()
    path = tmp_path / "cut.mp4"
    for length in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        assert gives_frames_or_says_why_not(path)


def test_a_file_with_flipped_bytes_gives_frames_or_says_why_not(tmp_path):
    whole = videos.write_video(tmp_path / "whole.mp4", frames=8, container_options=videos.FASTSTART).read_bytes()
    path = tmp_path / "flipped.mp4"
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, data.size, 6)] ^= rng.integers(1, 256, 6, np.uint8)
        path.write_bytes(data.tobytes())
        assert gives_frames_or_says_why_not(path)


def test_trimming_by_an_edit_list_is_no_damage(tmp_path):
    path = videos.write_trimmed(tmp_path / "trimmed.mp4")
    info, got, _, warnings = read_all(path)
    assert (len(got), info.frame_count) == (15, 15)  # of 30 in the file
    assert warnings == []


# --- folders of images -----------------------------------------------------------------------------------------------


def write_images(folder, names):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), videos.picture(number, 31, 21))
    return folder


def test_an_image_folder_is_read_in_natural_order(tmp_path):
    names = ["frame1.png", "frame2.bmp", "frame10.PNG", "other.png"]
    folder = write_images(tmp_path / "images", names)
    (folder / "notes.txt").write_text("no image")
    info, got, undecodable, warnings = read_all(folder)
    assert (info.width, info.height, info.fps, info.frame_count, info.live) == (31, 21, 25.0, 4, False)
    assert [int(frame.image_bgr[0, 0, 1]) for frame in got] == [0, 8, 16, 24]
    assert [frame.seconds for frame in got] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert (undecodable, warnings) == (0, ["7 pictures missing between frame2.bmp and frame10.PNG"])
    with open_source(str(folder)) as source:
        assert [frame.index for frame in source.frames(lambda index: index == 2)] == [2]


def test_a_damaged_image_keeps_the_places_of_the_others(tmp_path):
    folder = write_images(tmp_path / "images", ["0.png", "2.png"])
    (folder / "1.png").write_bytes(b"no image")
    (folder / "3.png").touch()
    _, got, undecodable, warnings = read_all(folder)
    assert [frame.index for frame in got] == [0, 2]
    assert undecodable == 2
    assert warnings == ["skipped 2 unreadable images, the first is 1.png"]


def test_a_folder_of_damaged_images(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"no image of the 1 in .* is readable"):
        open_source(str(tmp_path))


def test_an_image_folder_without_permission(tmp_path, monkeypatch):
    def refuse(_self):
        raise PermissionError

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(SourceError, match="no permission to read"):
        open_source(str(tmp_path))


# --- cameras and URLs ------------------------------------------------------------------------------------------------


def test_a_missing_camera_device():
    with pytest.raises(SourceError, match="no camera at /dev/video987\n  fix: connect one; cameras found: "):
        open_source("/dev/video987")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_refused_connection(scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: a connection is refused
        url = f"{scheme}://user:secret@127.0.0.1:{unused.getsockname()[1]}/1"
        with pytest.raises(SourceError, match=r"cannot open .*user:\*\*\*@127.0.0.1.*refused") as caught:
            open_source(url, open_timeout_s=2)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_never_answers(scheme):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(SourceError, match="no answer in time"):
            open_source(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/1", open_timeout_s=0.3)


@pytest.fixture
def serve():
    """Serves `body` over HTTP; with `stall_after`, sends only so many bytes and keeps the connection open.

    Without `endless`, the size is announced, as for a file.
    """
    released = threading.Event()
    servers = []

    def start(body: bytes, *, stall_after: int | None = None, status: int = 200, endless: bool = False) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                if not endless:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body[:stall_after])
                    if stall_after is not None:
                        released.wait(10)
                except OSError:
                    pass

            def log_message(self, *_args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/a.mp4"

    yield start
    released.set()
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_file_over_http_is_no_live_source(tmp_path, serve):
    body = videos.write_video(tmp_path / "a.mp4", frames=4, container_options=videos.FASTSTART).read_bytes()
    info, got, _, warnings = read_all(serve(body))
    assert (len(got), info.live, warnings) == (4, False, [])


def test_a_connection_that_falls_silent_is_a_source_error(tmp_path, serve):
    path = videos.write_video(
        tmp_path / "a.mp4", frames=60, size_wh=(320, 240), container_options=videos.FASTSTART, noise=60
    )
    body = path.read_bytes()
    source = open_source(serve(body, stall_after=len(body) // 2), read_timeout_s=0.5)
    with source, pytest.raises(SourceError, match="sends nothing any more"):
        list(source.frames(everything))


def test_a_live_stream_that_stops_is_opened_again(tmp_path, serve):
    body = videos.write_video(tmp_path / "a.ts", frames=120, codec_options={"g": "10"}, noise=60).read_bytes()
    url = serve(body, stall_after=len(body), endless=True)
    got = []
    with open_source(url, read_timeout_s=0.5) as source:
        assert (source.info.live, source.info.frame_count) == (True, None)
        for frame in source.frames(everything):
            got.append(frame.index)
            if frame.index == source.restarted_at:
                break
    assert got == list(range(len(got)))
    assert len(got) > 60
    (warning,) = source.warnings
    assert re.fullmatch(r"the source was lost once and reopened \(at \d+\.\d s: sends nothing any more\)", warning)


@pytest.mark.parametrize(("status", "message"), [(401, "user name or password refused"), (404, "cannot open .*404")])
def test_a_server_that_says_no(serve, status, message):
    with pytest.raises(SourceError, match=message):
        open_source(serve(b"no", status=status))


# --- real footage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "size_wh", "frames"),
    [
        ("videos/bottle-detection.mp4", (640, 360), 1189),
        ("ped2/test/01.mp4", (360, 240), 180),
        ("ucf_crime/RoadAccidents010_x264.mp4", (320, 240), None),
    ],
)
def test_real_footage(path, size_wh, frames):
    if not (DATA / path).exists():
        pytest.skip(f"no {path}: the shared test footage is not here")
    with open_source(str(DATA / path)) as source:
        sampled = list(source.frames(lambda index: index % 200 == 0))
        assert (source.info.width, source.info.height) == size_wh
        assert len(sampled) == -(-source.info.frame_count // 200)
        assert frames in (None, source.info.frame_count)
        assert (source.losses.undecodable_packets, source.warnings) == (0, [])
        assert [frame.seconds for frame in sampled] == pytest.approx(
            [frame.index / source.info.fps for frame in sampled], abs=0.05
        )


def test_importing_sources_does_not_import_torch():
    code = "import sys, stprompt_edge.runtime.sources; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("v.mp4", videos.write_video, 20),
        ("one.mp4", lambda path: videos.write_video(path, frames=1), 1),
        ("v.mkv", videos.write_video, 20),  # no count in the container: duration times rate
        ("v.gif", videos.write_gif, 5),
        ("cut.mp4", lambda path: videos.write_truncated(path, index_in_front=True), 40),
        ("cut2.mp4", lambda path: videos.write_truncated(path, index_in_front=False), None),
        ("text.mp4", videos.write_text_as_video, None),
        ("empty.mp4", videos.write_empty, None),
        ("sound.mp4", videos.write_audio_only, None),
        ("missing.mp4", lambda path: path, None),
        ("folder", lambda path: path.mkdir(), None),
    ],
)
def test_expected_frames(tmp_path, name, write, expected):
    write(tmp_path / name)
    assert expected_frames(tmp_path / name) == expected


def test_expected_frames_of_an_image_folder(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    assert expected_frames(tmp_path) == 3
