"""`cameras.toml`, and what a text on the command line means."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.masking import masked_source
from stprompt_edge.runtime.cameras import is_pipeline
from stprompt_edge.runtime.sources import CameraConfig, load_camera, open_source, resolve_source
from tests import videos

FULL = '[cameras.door]\nsource = "rtsp://host/1"\nstride = 8\nthreshold = 0.5\n[cameras.yard]\nsource = "yard.mp4"\n'


@pytest.fixture
def toml(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "cameras.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_a_camera_table_becomes_a_config(toml):
    assert load_camera("door", toml(FULL)) == CameraConfig(source="rtsp://host/1", name="door", stride=8, threshold=0.5)
    path = toml(FULL)
    assert load_camera("yard", path) == CameraConfig(source=str(path.parent / "yard.mp4"), name="yard")


def test_every_key_of_a_camera_is_kept(toml):
    path = toml('[cameras.a]\nsource = "/a"\nstride = 2\nthreshold = 1\nstream = 0\nlive = false\nfps = 12.5\n')
    wanted = CameraConfig(source="/a", name="a", stride=2, threshold=1, stream=0, live=False, fps=12.5)
    assert load_camera("a", path) == wanted


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        ("yard.mp4", "{folder}/yard.mp4"),
        ("../yard.mp4", "{folder}/../yard.mp4"),
        ("file:yard.mp4", "file:{folder}/yard.mp4"),
        ("~/yard.mp4", "{home}/yard.mp4"),
        ("/videos/yard.mp4", "/videos/yard.mp4"),
        ("/dev/video0", "/dev/video0"),
        ("file:///videos/a%20b.mp4", "file:///videos/a%20b.mp4"),
        ("rtsp://me:pa#ss@host/1", "rtsp://me:pa#ss@host/1"),
        ("filesrc location=a.mp4 ! decodebin", "filesrc location=a.mp4 ! decodebin"),
    ],
)
def test_a_relative_source_starts_at_the_file(toml, tmp_path, monkeypatch, source, opened):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = toml(f"[cameras.yard]\nsource = '{source}'\n")
    assert load_camera("yard", path).source == opened.format(folder=tmp_path, home=tmp_path / "home")
    assert resolve_source("yard", path) == load_camera("yard", path)


def test_a_source_beside_the_file_opens_from_another_folder(toml, tmp_path, monkeypatch):
    path = toml('[cameras.yard]\nsource = "yard.mp4"\n')
    videos.write_video(tmp_path / "yard.mp4", frames=2)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with open_source(resolve_source("yard", path).source) as source:
        assert source.info.width == 64
    monkeypatch.chdir(tmp_path)
    assert resolve_source("yard") == CameraConfig(source="yard.mp4", name="yard")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_file(toml, encoding):
    assert load_camera("door", toml(FULL.encode(encoding))).stride == 8


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_named(toml, encoding):
    text = f"# caf\u00e9\n{FULL}" if encoding == "latin-1" else FULL
    remedy = "save it as UTF-8" if encoding != "utf-16-le" else "correct that place"  # that is UTF-8, full of NULs
    with pytest.raises(UsageError, match=r"cameras\.toml") as caught:
        load_camera("door", toml(text.encode(encoding)))
    assert caught.value.remedy == remedy


def test_a_cameras_file_that_the_user_named_must_be_there_once_it_is_needed(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"cannot read .*nope\.toml: No such file.*\n  fix: .*--cameras"):
        resolve_source("door", tmp_path / "nope.toml")
    with pytest.raises(UsageError, match=r"cannot read .*nope\.toml"):
        resolve_source("camera0", tmp_path / "nope.toml")
    assert resolve_source("rtsp://host/1", tmp_path / "nope.toml") == CameraConfig(source="rtsp://host/1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="no such file or camera: 'door'"):
        resolve_source("door")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no camera 'door'\n  fix: known: none"),
        ('[cameras.doors]\nsource = "a"', r"no camera 'door'\n  fix: did you mean 'doors'\?"),
        ("[cameras]\ndoor = 3", r"cameras.door is not a table\n  fix: write it as \[cameras.door\]"),
        ("cameras = 3", "'cameras' is not a table"),
        ('[camera.door]\nsource = "a"', r"unknown key 'camera'\n  fix: did you mean 'cameras'\?"),
        (
            '[cameras.door]\nsource = "a"\nstrid = 3',
            r"unknown key 'strid' in \[cameras.door\]\n  fix: did you mean 'stride'",
        ),
        ("[cameras.door]", r"\[cameras.door\]: source must be a text, got None"),
        ("[cameras.door]\nsource = 0", r"\[cameras.door\]: source must be a text, got 0"),
        ('[cameras.door]\nsource = ""', r"\[cameras.door\]: source must be a text, got ''"),
        ('[cameras.door]\nsource = "a"\nstride = 0', "stride must be a whole number from 1, got 0"),
        ('[cameras.door]\nsource = "a"\nstride = 1.5', "stride must be a whole number from 1, got 1.5"),
        ('[cameras.door]\nsource = "a"\nstride = true', "stride must be a whole number from 1, got True"),
        ('[cameras.door]\nsource = "a"\nthreshold = "high"', "threshold must be from 0 to 1, got 'high'"),
        ('[cameras.door]\nsource = "a"\nthreshold = 1.01', "threshold must be from 0 to 1, got 1.01"),
        ('[cameras.door]\nsource = "a"\nthreshold = nan', "threshold must be from 0 to 1, got nan"),
        ('[cameras.door]\nsource = "a"\nthreshold = true', "threshold must be from 0 to 1, got True"),
        ('[cameras.door]\nsource = " "', "source must be a text, got ' '"),
        ('[cameras.door]\nsource = ["rtsp://me:Secret@h/1"]', r"source must be a text, got \['rtsp://me:\*\*\*@h/1'\]"),
        ('[cameras.door]\nsource = "a"\nstream = -1', "stream must be a whole number from 0, got -1"),
        ('[cameras.door]\nsource = "a"\nstream = "1"', "stream must be a whole number from 0, got '1'"),
        ('[cameras.door]\nsource = "a"\nstream = true', "stream must be a whole number from 0, got True"),
        ('[cameras.door]\nsource = "a"\nlive = 1', r"live must be true or false, got 1\n  fix: e.g. live = true"),
        ('[cameras.door]\nsource = "a"\nlive = "yes"', "live must be true or false, got 'yes'"),
        ('[cameras.door]\nsource = "a"\nfps = 0', "fps must be a number over 0, got 0"),
        ('[cameras.door]\nsource = "a"\nfps = inf', "fps must be a number over 0, got inf"),
        ('[cameras.door]\nsource = "a"\nfps = nan', "fps must be a number over 0, got nan"),
        ('[cameras.door]\nsource = "a"\nfps = true', "fps must be a number over 0, got True"),
        ('[cameras.door]\nsource = "a"\nlives = true', r"unknown key 'lives' in .*\n  fix: did you mean 'live'\?"),
        ("[cameras.door]\nsource = rtsp", r"not valid TOML: .*line 2"),
        (b"\xff\xfe", "cannot read .*cameras.toml"),
        ("a = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_a_wrong_cameras_file_is_a_usage_error_with_the_place(toml, text, message):
    with pytest.raises(UsageError, match=message):
        load_camera("door", toml(text))


def test_a_missing_cameras_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*cameras\.toml"):
        load_camera("door", tmp_path / "cameras.toml")


TOML_VALUES = st.one_of(
    st.booleans().map(lambda value: "true" if value else "false"),
    st.integers(-(2**63), 2**63).map(str),
    st.floats(allow_nan=True).map(lambda value: repr(value)),
    st.text(string.printable).map(json.dumps),
    st.just("[]"),
    st.just("{ a = 1 }"),
    st.just("1979-05-27"),
)
KEYS = st.one_of(
    st.sampled_from(["source", "stride", "threshold", "stream", "live", "fps"]),
    st.text(string.ascii_letters, min_size=1, max_size=9),
)


def is_config_or_usage_error(path) -> bool:
    try:
        return isinstance(load_camera("door", path), CameraConfig)
    except UsageError as exc:
        return str(path) in exc.what


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(table=st.dictionaries(KEYS, TOML_VALUES, max_size=5))
def test_a_random_table_is_a_config_or_a_usage_error(toml, table):
    path = toml("[cameras.door]\n" + "\n".join(f"{key} = {value}" for key, value in table.items()))
    assert is_config_or_usage_error(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.one_of(st.binary(max_size=60), st.text(string.printable, max_size=60).map(str.encode)))
def test_random_bytes_are_a_usage_error(toml, data):
    with pytest.raises(UsageError):
        load_camera("door", toml(data))


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("rtsp://host/1", "rtsp://host/1"),
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("srt://host:9", "srt://host:9"),
        (" RTSP://host/1\n", "RTSP://host/1"),
        ("rtsp://me:pa#ss@host/1", "rtsp://me:pa#ss@host/1"),
        ("FILE:nowhere.mp4", "FILE:nowhere.mp4"),
        ("file:///nowhere.mp4", "file:///nowhere.mp4"),
        ("/dev/video7", "/dev/video7"),
        ("camera0", "/dev/video0"),
        ("camera12", "/dev/video12"),
        ("videotestsrc ! identity", "videotestsrc ! identity"),
        ("rtspsrc location=rtsp://host/1\n  ! decodebin", "rtspsrc location=rtsp://host/1\n  ! decodebin"),
    ],
)
def test_resolving_without_a_cameras_file(tmp_path, monkeypatch, text, source):
    monkeypatch.chdir(tmp_path)
    found = resolve_source(text)
    assert found.source == source
    assert found.name == (text if text.startswith("camera") else masked_source(source))


def test_a_source_that_nobody_named_is_called_after_itself_without_its_secrets():
    assert CameraConfig(source="rtsp://me:s3cret@host/1").name == "rtsp://me:***@host/1"


def test_a_camera_table_wins_over_the_device_of_that_number_and_a_path_over_both(toml, tmp_path, monkeypatch):
    path = toml('[cameras.camera0]\nsource = "rtsp://host/1"\nstride = 2\n')
    assert resolve_source("camera0", path) == CameraConfig(source="rtsp://host/1", name="camera0", stride=2)
    assert resolve_source("camera1", path) == CameraConfig(source="/dev/video1", name="camera1")
    path = toml('[cameras.camera0]\nsource = "v4l2src device=/dev/video0 ! videoconvert"\n')
    assert resolve_source("camera0", path) == CameraConfig(
        source="v4l2src device=/dev/video0 ! videoconvert", name="camera0"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "camera0").mkdir()
    assert resolve_source("camera0", path) == CameraConfig(source="camera0", name="camera0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no such file or camera: ''\n  fix: give a video file.*door, yard"),
        ("dor", r"no such file or camera: 'dor'\n  fix: did you mean 'door'\?"),
        ("clip1.mp4", r"no such file or camera: 'clip1.mp4'\n  fix: did you mean 'clip.mp4'\?"),
        ("sub/fight.avi", r"did you mean 'sub/fights.avi'\?"),
        ("nowhere/fight.avi", "give a video file, a folder of images, a URL"),
        ("camera", "no such file or camera: 'camera'"),
        ("xyz", r"no such file or camera: 'xyz'\n  fix: give .* or a camera of .*/cameras.toml \(door, yard\)"),
        ("camera-1", "no such file or camera: 'camera-1'"),
        ("a\0b", "no such file or camera"),
        ("x" * 5000, "no such file or camera"),
        (
            "rstp://user:secret@host/1",
            r"cannot open 'rstp://user:\*\*\*@host/1': unknown protocol\n  fix: did you mean 'rtsp'",
        ),
        ("user:secret@host/1", r"no such file or camera: 'user:\*\*\*@host/1', and no address"),
        ("rtsp:/user:secret@host/1", r"'rtsp:/user:\*\*\*@host/1' is neither a file nor an address"),
        ("rtsp://host:99999/1", "what follows the colon is no port"),
    ],
)
def test_an_unknown_source_names_the_nearest_one(toml, tmp_path, monkeypatch, text, message):
    path = toml(FULL)
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "fights.avi").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        resolve_source(text, path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a ! b", True), ("a\n! b", True), ("a!b", False), ("wow! that.mp4", False), ("!", False), ("", False)],
)
def test_what_is_a_pipeline(text, expected):
    assert is_pipeline(text) is expected


def test_a_file_whose_name_looks_like_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = videos.write_video(Path("a ! b.mp4"), frames=2)
    assert resolve_source(str(path)) == CameraConfig(source="a ! b.mp4")
    with open_source("a ! b.mp4") as source:
        assert source.info.codec == "h264"
