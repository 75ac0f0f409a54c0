"""Addresses as people paste them: what reaches the server is what they meant, or one line says what to change."""

from __future__ import annotations

import doctest
import os
import re
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime import addresses
from stprompt_edge.runtime.addresses import file_path, parse_address, refuse_half_address, scheme_of
from stprompt_edge.runtime.sources import open_source
from tests import videos
from tests.camera_servers import BASIC, DIGEST, CameraServer, HttpCamera, RtspCamera, digest_fits, serving

CAMERAS = pytest.mark.parametrize(("scheme", "camera"), [("http", HttpCamera), ("rtsp", RtspCamera)])

PASTED = [
    "rtsp://admin:Pass-word1@192.0.2.1:554/Streaming/Channels/101?transportmode=unicast",  # Hikvision
    "rtsp://admin:pa%23ss@192.0.2.1:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",  # Dahua
    "rtsp://admin:pass@192.0.2.1:554/h264Preview_01_main",  # Reolink
    "http://192.0.2.1/flv?port=1935&app=bcs&stream=channel0_main.bcs&user=admin&password=pass",  # Reolink
    "rtsp://root:pass@192.0.2.1/axis-media/media.amp?videocodec=h264&resolution=640x480",  # Axis
    "http://192.0.2.1/axis-cgi/mjpg/video.cgi?resolution=640x480",  # Axis
    "rtsp://192.0.2.1:554/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real_stream",  # XM
    "rtsp://192.0.2.1:554/user=admin&password=&channel=1&stream=0.sdp?",  # XM
    "rtsp://user%40mail.com:pass@192.0.2.1:554/stream1",  # Tapo
    "rtsps://192.0.2.1:7441/AbCdEfGh12345678?enableSrtp",  # UniFi
    "rtsp://192.0.2.1:554/onvif/profile1/media.smp",  # ONVIF
    "rtsp://admin:a:b;c&d=e,f!$'()*+@[2001:db8::1]:554/1",
    "rtmp://192.0.2.1/bcs/channel0_main.bcs?channel=0&stream=0&user=admin&password=pass",
    "udp://239.0.0.1:1234?localaddr=192.0.2.7",
    "udp://:1234",
    "srt://192.0.2.1:9000?mode=caller&passphrase=0123456789",
    "http://192.0.2.1:80/a@b/c%20d.m3u8?x=[1]",
]


@pytest.mark.parametrize("url", PASTED)
def test_an_address_that_is_right_stays(url: str) -> None:
    assert str(parse_address(url)) == url
    assert str(parse_address(f" {url}\n")) == url


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("rtsp://admin:pa#ss@192.0.2.1/stream", "rtsp://admin:pa%23ss@192.0.2.1/stream"),
        ("rtsp://admin:pa/ss@cam:554/1", "rtsp://admin:pa%2Fss@cam:554/1"),
        ("rtsp://admin:pa?ss@cam/1?x=2", "rtsp://admin:pa%3Fss@cam/1?x=2"),
        ("rtsp://admin:p@ss@cam/1", "rtsp://admin:p%40ss@cam/1"),
        ("rtsp://admin:p@s!/s@[::1]/1", "rtsp://admin:p%40s!%2Fs@[::1]/1"),
        ("rtsp://admin:pa/ss@192.0.2.1/a@b", "rtsp://admin:pa%2Fss@192.0.2.1/a@b"),
        ("rtsp://admin:pa#ss@cam/1?x=a@b", "rtsp://admin:pa%23ss@cam/1?x=a@b"),
        ("rtsp://admin:100%@cam/1", "rtsp://admin:100%25@cam/1"),
        ("rtsp://admin:123456/7@cam/1", "rtsp://admin:123456%2F7@cam/1"),
        ('rtsp://ad min:ä\\"@cam/a b/ä?c d', "rtsp://ad%20min:%C3%A4%5C%22@cam/a%20b/%C3%A4?c%20d"),
        ("rtsp://me@mail.com:pass@cam/1", "rtsp://me%40mail.com:pass@cam/1"),
        ("rtsp://admin@cam/1", "rtsp://admin:@cam/1"),
        ("RTSP://admin:Pass@CAM/1", "rtsp://admin:Pass@CAM/1"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_what_must_be_encoded_is(typed: str, url: str) -> None:
    assert str(parse_address(typed)) == url
    assert str(parse_address(url)) == url


@pytest.mark.parametrize(
    ("typed", "ambiguous"),
    [
        ("rtsp://me:1/2@cam/1", True),  # host `me`, or password `1/2`
        ("rtsp://me:a@b/c@cam/1", True),  # host `b`, or password `a@b/c`
        ("rtsp://me:a@192.0.2.1/b@cam", False),
        ("http://me:a@cam/x?mail=a@b", False),
        ("http://cam/a@b", True),
        ("rtsp://me:a#b@cam/1", False),
    ],
)
def test_rfc_3986_decides_where_it_can_and_the_doubt_is_kept(typed: str, ambiguous: bool) -> None:
    address = parse_address(typed)
    assert address.ambiguous is ambiguous
    assert str(address) == typed.replace("#", "%23")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rstp://me:Secret@h/1", r"'rstp://me:\*\*\*@h/1': unknown protocol\n  fix: did you mean 'rtsp'"),
        ("rtsp://", "names no host\n  fix: write it as rtsp://HOST/PATH"),
        ("http:///a.mp4", "names no host"),
        ("http://me:Secret@/a.mp4", "names no host"),
        ("rtsp://:554/1", "names no host"),
        ("rtsp://h:99999/1", "no port\n  fix: give a whole number from 1 to 65535"),
        ("rtsp://h:0/1", "no port\n  fix: give a whole number from 1 to 65535$"),
        ("rtsp://me:99999/Secret@h/1", r"no port\n.*%2F for /"),
        ("rtsp://h:1234567/1", "no port"),
        ("rtsp://h:٣/1", "no port"),
        ("rtsp://me:Secret/1", r"no port\n.*%2F for /"),
        ("rtsp://me:Secret192.0.2.1/1", r"no port\n.*%40 for @"),
        ("rtsp://me:Se#cret", r"no port\n.*%23 for #"),
        ("rtsp://2001:db8::1/1", r"an IPv6 host needs brackets\n  fix: write it as ://\[2001:db8::1\]:554/"),
        ("rtsp://[::zz]/1", "no IPv6 address stands in the brackets"),
        ("rtsp://[]/1", "no IPv6 address"),
        ("rtsp://a host/1", "characters that no host has"),
        ("rtsp://me:Secret@ho!st/1", "characters that no host has"),
        ("rtsp://me:Se/cret@h/a@b", "cannot tell where the password .* ends: it has several @\n  fix: .*%2F for /"),
        (f"rtsp://me:{'Secret' * 30}@h/1", "take 183 bytes, FFmpeg can send 127 over RTSP"),
        (f"rtsps://me:{'ä' * 30}@h/1", "take 183 bytes"),
    ],
)
def test_what_cannot_be_an_address_is_one_clear_line(url: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(url)
    assert "ecret" not in str(caught.value)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "rtsp:/me:Secret@h/1",
        "rtsp:me:Secret@h/1",
        "rtsp//me:Secret@h/1",
        "me:Secret@h/1",
        "me:Se/cret@h",
        "h:554/1",
        "192.0.2.1/1?pwd=Secret",
        "192.0.2.1/user=me_password=Secret_channel=1",
        "cam/x?token=Secret",
    ],
)
def test_a_half_address_is_told_without_its_password(text: str) -> None:
    with pytest.raises(SourceError, match=r"address with ://\n  fix: .*://") as caught:
        open_source(text)
    assert "ecret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "a.mp4", "rtsp", "http/a.mp4", "a:b.mp4", "runs/lr=1/a.mp4", "C:\\a.mp4", "me@h"])
def test_a_path_is_no_half_address(text: str) -> None:
    refuse_half_address(text)
    assert scheme_of(text) is None


# --- what arrives at the server --------------------------------------------------------------------------------------


def arrived(server: CameraServer, url: str) -> str | None:
    with pytest.raises(SourceError, match="404"):
        open_source(url, open_timeout_s=5)
    return server.credentials


@CAMERAS
@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("admin:pass", "admin:pass"),
        ("admin:", "admin:"),
        ("admin", "admin:"),
        ("admin:pa#ss", "admin:pa#ss"),
        ("admin:pa/s?s", "admin:pa/s?s"),
        ("admin:p@s:s", "admin:p@s:s"),
        ("admin:p%40ss", "admin:p@ss"),
        ("admin:100%", "admin:100%"),
        ("admin:100%25", "admin:100%"),
        ("admin:%zz%4", "admin:%zz%4"),
        ("ad min:my pass", "ad min:my pass"),
        ("me@mail.com:pä ß€", "me@mail.com:pä ß€"),
        ("a+b:c+d&e=f;g", "a+b:c+d&e=f;g"),
        ("admin:\\\"'<>[]{}|^`", "admin:\\\"'<>[]{}|^`"),
    ],
)
def test_user_and_password_arrive(scheme: str, camera: Any, typed: str, sent: str) -> None:
    with serving(camera, challenge=BASIC, status=404) as server:
        assert arrived(server, f"{scheme}://{typed}@{server.host}/live/1?x=a@b") == sent
        request = server.asked[-1][0].split(" ")
        assert request[1].removeprefix(f"rtsp://{server.host}") == "/live/1?x=a@b"


@CAMERAS
@settings(max_examples=25, deadline=None)
@given(
    user=st.text(
        st.characters(codec="utf-8", exclude_characters=":%", exclude_categories="CZ"), min_size=1, max_size=6
    ),
    password=st.text(string.punctuation.replace("%", "") + string.ascii_letters + " äß", min_size=1, max_size=12),
    encoded=st.booleans(),
)
def test_any_user_and_password_arrive(scheme: str, camera: Any, user: str, password: str, encoded: bool) -> None:
    typed = f"{quote(user, safe='')}:{quote(password, safe='')}" if encoded else f"{user}:{password}"
    with serving(camera, challenge=BASIC, status=404) as server:
        url = f"{scheme}://{typed}@{server.host}/1"
        if not encoded and re.search("[/?#]", typed) and _is_refused_or_doubtful(url):
            return  # `1/a` as a password: RFC 3986 reads a host and a port
        assert arrived(server, url) == f"{user}:{password}"


def _is_refused_or_doubtful(url: str) -> bool:
    try:
        return parse_address(url).ambiguous
    except SourceError as exc:
        return "%23 for #" in exc.remedy


@CAMERAS
@pytest.mark.parametrize("path", ["/a b/ä", "/a%20b?c d", "/x"])
def test_a_digest_is_of_the_path_that_is_asked_for(scheme: str, camera: Any, path: str) -> None:
    with serving(camera, challenge=DIGEST, status=404) as server:
        with pytest.raises(SourceError, match="404"):
            open_source(f"{scheme}://ad@min:pä#ss@{server.host}{path}", open_timeout_s=5)
        request, sent = server.asked[-1]
        assert sent is not None
        assert digest_fits(request, sent, "ad@min", "pä#ss")
        wanted = quote(unquote(path), safe="/?")
        assert request.split(" ")[1] == (wanted if scheme == "http" else f"rtsp://{server.host}{wanted}")


# --- file: -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b.mp4", "100%.mp4", "a#1?.mp4", "ä€.mp4", "a%20b.mp4", "a@b:c.mp4"])
@pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "file:{}", "FILE://{}"])
def test_a_file_url_names_the_file_encoded_or_not(tmp_path: Path, name: str, form: str) -> None:
    path = videos.write_video(tmp_path / "made.mp4", frames=2).rename(tmp_path / name)
    for text in (str(path), quote(str(path))):
        assert file_path(form.format(text)) == path
        with open_source(form.format(text)) as source:
            assert source.info.name == form.format(text)
            assert len(list(source.frames(lambda index: True))) == 2


def test_the_literal_name_goes_first(tmp_path: Path) -> None:
    for name in ("a b.mp4", "a%20b.mp4"):
        (tmp_path / name).touch()
    assert file_path(f"file://{tmp_path}/a%20b.mp4") == tmp_path / "a%20b.mp4"
    assert file_path(f"file://{tmp_path}/a%20%62.mp4") == tmp_path / "a b.mp4"


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    path.touch()
    assert file_path(f"file://{tmp_path}/caf%E9.mp4") == path


@pytest.mark.parametrize("text", ["file:a b.mp4", "file:a%20b.mp4", "file://a b.mp4", "file:./a%20b.mp4"])
def test_a_relative_file_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.mp4").touch()
    assert file_path(text).resolve() == tmp_path / "a b.mp4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file://server/share/a.mp4", "is a file on the machine 'server'\n  fix: mount"),
        ("file:C:\\a.mp4", "is a Windows path\n  fix: "),
        ("file:///C:/a.mp4", "is a Windows path"),
        ("file:///nowhere/a%20b.mp4", "no such file: /nowhere/a b.mp4"),
        ("file://", "no images|no such file"),
    ],
)
def test_a_file_url_that_names_no_file(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(text)


def test_the_examples_in_docstrings() -> None:
    done = doctest.testmod(addresses)
    assert done.attempted == 1
    assert done.failed == 0
