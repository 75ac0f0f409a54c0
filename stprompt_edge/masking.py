"""Secrets in the addresses of cameras: what may be shown of an address, and `***` for the rest. Text only, no imports.

An address may be read in several ways where a password holds `/`, `?`, `#` or `@` unencoded. Whatever is secret in any
of them is hidden. Of names and values, only those of `SHOWN` are shown: no list of secret names is ever complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

MASK = "***"
PIPELINE = re.compile(r"\s!\s")  # between two elements of a GStreamer pipeline
_SHOWN = """
    channel channelid chid ch cam camera camid input inst trackid subtype substream stream streamtype streamid
    streamprofile stream_type profile profileid unicast multicast transport transportmode proto protocol linktype tcp
    udp rtp real_stream enablesrtp mode pkt_size resolution res width height w h size fps framerate rate bitrate quality
    compression videocodec codec videotype video audio videoonly audioonly h264 h265 hevc mjpeg rotation overview
    starttime endtime start end format type timeout latency buffer
"""
SHOWN = frozenset(_SHOWN.split())  # they tell cameras apart, or say what was asked of them; also without a value
SHORTEST_TOLD_APART = 4  # characters of a secret that is looked for in other texts
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]+"
_SCHEME_START = re.compile(rf"\s*(?:{_SCHEME}|//)?")
_HOST_AND_PORT = re.compile(r"([\w.~-]*|\[[^\[\]\s/?#]*\])(?::\d{0,5})?(?=[/?#]|$)")
_CERTAIN_HOST = re.compile(r"\d+\.\d+\.\d+\.\d+|\[.*\]|localhost")  # no part of a password looks like that
_END_OF_HOST, _END_OF_PATH, _QUERY_ITEM = re.compile("[/?#]|$"), re.compile("[?#]|$"), re.compile("[^&;?#]+")
_COLON = re.compile(":|%3A", re.IGNORECASE)
_PAIR_IN_PATH = re.compile(r"(?:[/&;,_]|%26|%2F)([A-Z][A-Z0-9-]*)(?:=|%3D)", re.IGNORECASE)
_USER_IN_PATH = re.compile(r"(?<=/)[A-Z][^/:]*?(?::|%3A)([^/]+)", re.IGNORECASE)  # a time begins with a digit
_KEY_IN_PATH = re.compile(r"(?<=/)(?=[A-Z0-9]*[a-z])(?=[a-z0-9]*[A-Z])(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}(?=[/?#]|$)")
_SHOWN_VALUE = re.compile(r"[\w.*:,/-]{0,40}", re.ASCII)
_ADDRESS_IN_TEXT = re.compile(
    rf"""(?<=["']){_SCHEME}[^"']+(?=["'])|{_SCHEME}[^\s"'<>]+?(?=[:;,.)\]!]*(?:[\s"'<>]|$))"""
)
_PROPERTY = re.compile(  # of a GStreamer element: name=value, the value perhaps in quotes
    r"""(?<!\S)(?P<name>[A-Za-z][\w-]*)\s*=\s*(?P<value>(?:"(?:\\.|[^"\\])*(?:"|$)|'(?:\\.|[^'\\])*(?:'|$)|[^\s"'])+)"""
)
_SECRET_PROPERTY = re.compile(
    r"(user|proxy|access|api)-?(id|pw|key)|user(name)?|login|pwd?|pin|"
    r".*(passw|passphrase|secret|token|cookie|header|credential|auth(?!or)).*",
    re.IGNORECASE,
)


def masked(text: str, *, of: str = "") -> str:
    """A text without the secrets of the addresses and GStreamer properties in it.

    Args:
        text: for people: a message, a pipeline, FFmpeg's or GStreamer's own words.
        of: a pipeline whose secrets are hidden wherever else they stand in the text.

    >>> masked("cannot open rtsp://admin:s3cret@10.0.0.5/main?token=4&channel=1")
    'cannot open rtsp://admin:***@10.0.0.5/main?token=***&channel=1'
    """
    for secret in sorted(_secrets(of), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _without(text, _spans_in_text(text))


def masked_address(address: str) -> str:
    """An address without its secrets; all of the text is the address, spaces in it and a missing protocol included.

    >>> masked_address("rtsp://admin:my pa/ss@10.0.0.5/main"), masked_address("file:///a/user=b.mp4")
    ('rtsp://admin:***@10.0.0.5/main', 'file:///a/user=b.mp4')
    """
    return _without(address, _spans_in_address(address))


def masked_source(source: str) -> str:
    """What the user typed as a source, for people: an address or pipeline without its secrets, a path as it is."""
    if PIPELINE.search(source):
        return masked(source)
    return masked_address(source) if re.match(rf"\s*{_SCHEME}", source) else source


def host_starts(rest: str) -> list[int]:
    """Where in an address the host may begin, `rest` being what follows `://`: one place for each way to read it.

    RFC 3986's place is the first, if there is a host. None lies after an IP address, nor in the value of a query.
    """
    starts: list[int] = []
    for at in (0, *(match.end() for match in re.finditer("@", rest))):
        host = _HOST_AND_PORT.match(rest, at)
        if host and host[1] and not (starts and re.search(r"\?.*=", rest[starts[0] : at])):
            starts.append(at)
            if _CERTAIN_HOST.fullmatch(host[1]):
                break
    return starts


def is_plain_start(rest: str, start: int) -> bool:
    """Does RFC 3986 let the host begin here: no `/`, `?` or `#` before it?"""
    return re.search("[/?#]", rest[:start]) is None


def _secrets(source: str) -> set[str]:
    found = {source[start:end].strip("\"'") for start, end in _spans_in_text(source)}
    found |= {unquote(secret) for secret in found} | {quote(secret, safe="") for secret in found}
    return {secret for secret in found if len(secret) >= SHORTEST_TOLD_APART}


def _without(text: str, spans: Iterator[tuple[int, int]]) -> str:
    parts: list[str] = []
    done = 0
    for start, end in sorted(spans):
        if start >= done and (start > done or not parts):
            parts += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])


def _spans_in_text(text: str) -> Iterator[tuple[int, int]]:
    for found in _PROPERTY.finditer(text):
        if _SECRET_PROPERTY.fullmatch(found["name"]):
            yield found.span("value")
    for found in _ADDRESS_IN_TEXT.finditer(text):
        yield from ((found.start() + start, found.start() + end) for start, end in _spans_in_address(found[0]))


def _spans_in_address(address: str) -> Iterator[tuple[int, int]]:
    scheme = _SCHEME_START.match(address)
    assert scheme is not None  # it may be empty
    if scheme[0].lower().startswith("file:"):
        return
    rest = address[scheme.end() :]
    for start in host_starts(rest) or [rest.rfind("@") + 1]:
        for first, last in _spans_of_reading(rest, start):
            yield scheme.end() + first, scheme.end() + last


def _spans_of_reading(rest: str, start: int) -> Iterator[tuple[int, int]]:
    """What is secret if the host begins at `start`: the password before it, values and words in path and query."""
    colon = _COLON.search(rest, 0, max(start - 1, 0))
    if colon:
        yield colon.end(), start - 1
    path = _place(_END_OF_HOST, rest, start)
    if not _HOST_AND_PORT.match(rest, start) and (colon := _COLON.search(rest, start, path)):
        yield colon.end(), path  # no port: a password whose @ was forgotten
    query = _place(_END_OF_PATH, rest, path)
    in_path = list(_spans_in_path(rest, path, query))
    yield from in_path
    goes_on = any(end == query for _, end in in_path)  # a password in the path that itself holds ? or #
    for item in _QUERY_ITEM.finditer(rest, query):
        name, equals, value = item[0].partition("=")
        if name.lower() not in SHOWN or not _SHOWN_VALUE.fullmatch(value):
            yield item.end() - len(value) if equals and not goes_on else item.start(), item.end()


def _spans_in_path(rest: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    pairs = list(_PAIR_IN_PATH.finditer(rest, start, end))
    for pair, following in zip(pairs, [*pairs[1:], None], strict=False):
        last = following.start() if following else end
        if pair[1].lower() not in SHOWN or not _SHOWN_VALUE.fullmatch(rest, pair.end(), last):
            yield pair.end(), last
    for pattern, group in ((_USER_IN_PATH, 1), (_KEY_IN_PATH, 0)):
        yield from (found.span(group) for found in pattern.finditer(rest, start, end))


def _place(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.search(text, start)
    return found.start() if found else len(text)
