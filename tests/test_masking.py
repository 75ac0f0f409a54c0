"""No secret of an address is shown, whatever the address looks like; what tells cameras apart is."""

from __future__ import annotations

import doctest
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stprompt_edge import masking
from stprompt_edge.errors import UsageError
from stprompt_edge.masking import masked, masked_address, masked_source
from stprompt_edge.runtime.records import SourceInfo

S = "S3cret-9"
XM = "rtsp://192.0.2.9:554/"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        # before the host
        (f"rtsp://admin:{S}@192.0.2.1/1", "rtsp://admin:***@192.0.2.1/1"),
        (f"rtsp://admin:{S}@[2001:db8::1]:554/1", "rtsp://admin:***@[2001:db8::1]:554/1"),
        (f"rtsp://admin:a@{S}@host/1", "rtsp://admin:***@host/1"),
        (f"rtsp://admin:a/{S}@host/1", "rtsp://admin:***@host/1"),
        (f"rtsp://admin:1/{S}@host/1", "rtsp://admin:***@host/1"),
        (f"rtsp://admin:a@b/{S}@host/1", "rtsp://admin:***@host/1"),
        (f"rtsp://admin:a?{S}@host/live/main", "rtsp://admin:***@host/live/main"),
        (f"rtsp://admin:a#{S}@host/live?channel=2", "rtsp://admin:***@host/live?channel=2"),
        (f"rtsp://admin:a b {S}@host/1", "rtsp://admin:***@host/1"),
        (f"rtsp://admin:ä%{S}@host/1", "rtsp://admin:***@host/1"),
        (f"rtsp://admin%3A{S}@host/1", "rtsp://admin%3A***@host/1"),
        (f"rtsp://us%40er:{quote(S + '/@')}@host/1", "rtsp://us%40er:***@host/1"),
        (f"rtsp://admin:{S}@/1", "rtsp://admin:***@/1"),
        (f"rtsp://admin:{S}", "rtsp://admin:***"),
        (f"rtsp://admin:{S}192.0.2.1/1", "rtsp://admin:***/1"),
        (f"admin:{S}@host/1", "admin:***@host/1"),
        (f"rtsp:admin:{S}@host/1", "rtsp:***@host/1"),
        (f"rtsp:/admin:{S}@host/1", "rtsp:/admin:***@host/1"),
        (f"rstp://admin:{S}@host/1", "rstp://admin:***@host/1"),
        # in a query
        (f"http://cam/x?user=admin&password={S}", "http://cam/x?user=***&password=***"),
        (f"http://cam:81/x?user=admin&password=p@{S}&channel=1", "http://cam:81/x?user=***&password=***&channel=1"),
        (f"http://cam/v.cgi?resolution=640x480&usr=a&pwd={S}", "http://cam/v.cgi?resolution=640x480&usr=***&pwd=***"),
        (f"http://cam/a.m3u8?token={S}#sid={S}", "http://cam/a.m3u8?token=***#sid=***"),
        (f"http://cam/a.m3u8?{S}", "http://cam/a.m3u8?***"),
        (f"http://cam/x?pass=a&{S}&b#{S}", "http://cam/x?pass=***&***&***#***"),
        (f"http://cam/x?%70assword={S}", "http://cam/x?%70assword=***"),
        (f"http://cam/x?channel=rtsp://u:{S}@h", "http://cam/x?channel=***"),
        (f"http://cam/x?url={quote(f'rtsp://u:{S}@h', safe='')}", "http://cam/x?url=***"),
        (f"srt://host:9?passphrase={S}&mode=caller", "srt://host:9?passphrase=***&mode=caller"),
        # in a path
        (f"{XM}user=admin_password={S}_channel=1_stream=0.sdp", f"{XM}user=***_password=***_channel=1_stream=0.sdp"),
        (
            f"{XM}user=admin&password={S}/x&channel=1&stream=0.sdp?",
            f"{XM}user=***&password=***&channel=1&stream=0.sdp?",
        ),
        (f"{XM}user=a_password=_x{S}_channel=1?real_stream", f"{XM}user=***_password=***_channel=1?real_stream"),
        (f"{XM}user=a_password=a#{S}_channel=1", f"{XM}user=***_password=***#***"),
        (f"{XM}user=a&password=a?{S}&channel=1", f"{XM}user=***&password=***?***&channel=1"),
        (f"{XM}user%3Dadmin%26password%3D{S}", f"{XM}user%3D***%26password%3D***"),
        (f"rtsp://host/0/admin:{S}/main", "rtsp://host/0/admin:***/main"),
        (f"http://proxy/rtsp%3A%2F%2Fu%3A{S}%40h/1", "http://proxy/rtsp%3A***/1"),
        (f"http://host/live;jsessionid={S}/1", "http://host/live;jsessionid=***"),
        ("rtsps://192.0.2.1:7441/AbCdEfGh12345678?enableSrtp", "rtsps://192.0.2.1:7441/***?enableSrtp"),
    ],
)
def test_what_is_secret_in_an_address_is_hidden_and_the_rest_is_shown(address: str, shown: str) -> None:
    assert masked_address(address) == shown
    assert masked_address(shown) == shown
    assert masked(shown) == shown
    assert S not in masked_source(address) or "://" not in address


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://192.0.2.1:554/Streaming/Channels/101",
        "rtsp://user@host/1",
        "rtsp://host:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",
        "rtsp://host/h264Preview_01_main",
        "rtsp://host/axis-media/media.amp?videocodec=h264&resolution=640x480&fps=15",
        "http://192.0.2.1:80/a@b",
        "http://host/rec/2024-01-01T12:30:00.mp4",
        "http://host/RoadAccidents010_x264.mp4",
        "udp://@239.0.0.1:1234",
        "file:///a/user=b/c:d@e.mp4",
        "clip.mp4",
        "/dev/video0",
        "",
    ],
)
def test_what_is_no_secret_stays(address: str) -> None:
    assert masked_address(address) == address
    assert masked_source(address) == address
    assert masked(address) == address


@pytest.mark.parametrize("path", ["a b=c@d.mp4", "runs/token=5/a.mp4", "x:y@z.mp4", "C:\\videos\\a.mp4"])
def test_the_path_of_a_file_stays(path: str) -> None:
    assert masked_source(path) == path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a ! b", "a ! b"),
        ("rtspsrc location=rtsp://host:554/1 ! b name=x@y", "rtspsrc location=rtsp://host:554/1 ! b name=x@y"),
        ("rtspsrc location=rtsp://me:p@ss@host/1 ! b", "rtspsrc location=rtsp://me:***@host/1 ! b"),
        (
            'rtspsrc location="rtsp://me:my pass@h/1" user-id=me ! b',
            'rtspsrc location="rtsp://me:***@h/1" user-id=*** ! b',
        ),
        ("rtspsrc location='rtsp://me:p/s@h/1' ! b", "rtspsrc location='rtsp://me:***@h/1' ! b"),
        ("souphttpsrc user-pw = 'my pass' proxy-pw=\"x\" ! b", "souphttpsrc user-pw = *** proxy-pw=*** ! b"),
        (f'a user-pw="x\\" {S}" ! b', "a user-pw=*** ! b"),
        (f"a user-pw='not closed {S} ! b", "a user-pw=***"),
        (
            f'a location=http://h/x?user=u&pwd={S} cookies="a={S};b" ! c',
            "a location=http://h/x?user=***&pwd=*** cookies=*** ! c",
        ),
        (f'a extra-headers=h,Authorization=(string)"Basic {S} x" ! c', "a extra-headers=*** ! c"),
        (f"srtsrc uri=srt://h:9 passphrase={S} pbkeylen=16 ! c", "srtsrc uri=srt://h:9 passphrase=*** pbkeylen=16 ! c"),
    ],
)
def test_a_pipeline_shows_no_secret(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
    assert masked_source(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot open http://h/x: refused", "cannot open http://h/x: refused"),
        (f"'http://u:{S}@h/x' fails (see rtsp://u:{S}@h:554).", "'http://u:***@h/x' fails (see rtsp://u:***@h:554)."),
        (f"got ['rtsp://u:my {S}@h', 3]", "got ['rtsp://u:***@h', 3]"),
        (
            f"Opening 'https://cdn/a.ts?sig={S}&exp=1' for reading",
            "Opening 'https://cdn/a.ts?sig=***&exp=***' for reading",
        ),
        (f"{XM}password={S}_stream=0.sdp?: no answer", f"{XM}password=***_stream=0.sdp?: no answer"),
        ("write them as ://USER:PASSWORD@host/", "write them as ://USER:PASSWORD@host/"),
        (
            "--threshold must be from 0 to 1, got 2, stride=3 id=4",
            "--threshold must be from 0 to 1, got 2, stride=3 id=4",
        ),
    ],
)
def test_addresses_inside_a_message(text: str, shown: str) -> None:
    assert masked(text) == shown
    error = UsageError(text, remedy=text)
    assert str(error) == f"{shown}\n  fix: {shown}"
    assert error.args == (shown,)


@pytest.mark.parametrize("said", [f"no user-pw {S}", f'property to "{S}"', f"a {quote('ä' + S)} b", f"x{S}"])
def test_what_a_library_says_about_a_pipeline_holds_none_of_its_secrets(said: str) -> None:
    of = f"rtspsrc location=rtsp://h/ user-pw='{S}' ! souphttpsrc user-pw={quote('ä' + S)} ! b"
    assert S not in masked(said, of=of)
    assert "***" in masked(said, of=of)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (f"rtsp://me:{S}@host/1", "rtsp://me:***@host/1"),
        (f"a user-pw={S} ! b", "a user-pw=*** ! b"),
        ("a/b user=c:d@e.mp4", "a/b user=c:d@e.mp4"),
    ],
)
def test_the_name_of_a_source_shows_no_secret(name: str, shown: str) -> None:
    info = SourceInfo(name=name, width=1, height=1, fps=1.0, frame_count=None, live=True, codec="h264")
    assert info.name == shown


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=12)
MARK = "Zq7"  # a piece that stands nowhere else


@st.composite
def secrets(draw: st.DrawFn) -> str:
    return draw(TEXTS) + MARK + draw(TEXTS)


@settings(max_examples=400, deadline=None)
@given(
    user=st.text("abc.-_", min_size=1, max_size=5),
    password=secrets(),
    host=st.sampled_from(["192.0.2.1", "cam", "cam.lan:554", "[2001:db8::1]:80"]),
    path=st.sampled_from(["", "/", "/live/1", "/cam?channel=1", "/a@b", "/x?user=a&password=b@c"]),
)
def test_a_random_password_is_never_shown(user: str, password: str, host: str, path: str) -> None:
    shown = masked_address(f"rtsp://{user}:{password}@{host}{path}")
    assert MARK not in shown
    assert masked_address(shown) == shown
    assert MARK not in masked(f"cannot open rtsp://{user}:{quote(password, safe='')}@{host}{path}: it fails")


@settings(max_examples=400, deadline=None)
@given(
    template=st.sampled_from(
        [
            "http://cam/x?user=admin&password={}",
            "http://192.0.2.1:81/x?user=admin&password={}&channel=1",
            "http://u:p@cam/x?channel=1&token={}#f",
            "rtsp://cam:554/user=admin_password={}_channel=1_stream=0.sdp",
            "rtsp://cam:554/user=admin&password={}&channel=1",
        ]
    ),
    value=secrets(),
)
def test_a_random_value_is_never_shown(template: str, value: str) -> None:
    encoded = masked_address(template.format(quote(value, safe="")))
    assert MARK not in encoded
    assert masked_address(encoded) == encoded
    shown = masked_address(template.format(value))
    assert value not in shown
    assert masked_address(shown) == shown


@settings(max_examples=400, deadline=None)
@given(text=st.text(st.sampled_from("ab1:/@?#&=_%.* '\"[]!"), max_size=40))
def test_masking_twice_is_masking_once(text: str) -> None:
    for shown in (masked_address(f"rtsp://{text}"), masked_address(text)):
        assert masked_address(shown) == shown
    assert masked(masked(f"rtsp://{text}")) == masked(f"rtsp://{text}")


def test_the_examples_in_docstrings() -> None:
    done = doctest.testmod(masking)
    assert done.attempted == 2
    assert done.failed == 0
