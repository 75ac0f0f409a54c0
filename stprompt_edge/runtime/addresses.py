"""Addresses of cameras and files as people paste them, read and written the way FFmpeg needs them.

FFmpeg ends user name and password at the first `/`, `?` or `#`, and decodes `%XX` in them. A path it leaves as it is
over RTSP, spaces too; over HTTP it encodes it, but makes the digest of what it was before.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from stprompt_edge.errors import SourceError, nearest
from stprompt_edge.masking import host_starts, is_plain_start, masked_address

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "udp", "srt"})
URL_SCHEMES = LIVE_SCHEMES | {"http", "https"}  # http is live when its container has no duration
HOSTLESS_SCHEMES = frozenset({"udp", "srt"})  # without a host they listen
MAX_RTSP_CREDENTIALS = 127  # bytes that FFmpeg keeps of `user:password`, encoded; it cuts the rest off silently
ENCODINGS = "%40 for @, %3A for :, %2F for /, %3F for ?, %23 for #, %25 for %"
HOW_TO_ENCODE = f"write the special characters of user name and password as {ENCODINGS}"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))  # left as it is in a path: servers differ in what they expect encoded
_IN_CREDENTIALS = "!$&'()*+,;=:~"  # RFC 3986, userinfo
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HALF_ADDRESS = re.compile(  # what a mistyped address has and a path has not
    r"[^/]*:.*@|[\w.-]+:\d+(/|$)|\d+(\.\d+){3}(/|$)|.*(\?|user|pass|pwd|token).*=", re.IGNORECASE
)
_WINDOWS_PATH = re.compile(r"/*[A-Za-z]:[\\/]")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A URL in its parts, encoded as FFmpeg wants them."""

    scheme: str  # lower case
    credentials: str | None  # `user:password`; a user without a password has an empty one
    host: str  # with its port, and its brackets if it is IPv6
    path: str  # with the query; empty or from its `/`, `?` or `#` on
    ambiguous: bool  # the password might end at another `@`

    def __str__(self) -> str:
        credentials = "" if self.credentials is None else f"{self.credentials}@"
        return f"{self.scheme}://{credentials}{self.host}{self.path}"


def scheme_of(source: str) -> str | None:
    """What stands before `://`, in lower case; None for anything else.

    >>> scheme_of("RTSP://host/1"), scheme_of("/a/b.mp4"), scheme_of("file:a.mp4")
    ('rtsp', None, None)
    """
    found = _SCHEME.match(source.strip())
    return found[1].lower() if found else None


def parse_address(source: str) -> Address:
    """Read a URL as RFC 3986 does; where that makes no sense, its password holds `/`, `?` or `#`, which are encoded.

    What is encoded already stays as it is.

    Raises:
        SourceError: unknown protocol, no host or none that can be one, a port that is none, several ways to read it,
            a password longer than FFmpeg can send.
    """
    source = source.strip()
    scheme = scheme_of(source)
    if scheme is None or scheme not in URL_SCHEMES:
        remedy = nearest(scheme or source.partition(":")[0], URL_SCHEMES)
        raise SourceError(f"cannot open '{masked_address(source)}': unknown protocol", remedy=remedy)
    rest = source[len(scheme) + len("://") :]
    start, ambiguous = _host_start(rest, source)
    end = start + len(re.split("[/?#]", rest[start:], maxsplit=1)[0])
    address = Address(
        scheme=scheme,
        credentials=_encoded_credentials(rest[: start - 1]) if start > 0 else None,
        host=_checked_host(rest[start:end], scheme, source),
        path=quote(rest[end:], safe=_PRINTABLE, errors="surrogateescape"),
        ambiguous=ambiguous,
    )
    if scheme in ("rtsp", "rtsps") and len(address.credentials or "") > MAX_RTSP_CREDENTIALS:
        raise SourceError(
            f"cannot open '{masked_address(source)}': user name and password take {len(address.credentials or '')} "
            f"bytes, FFmpeg can send {MAX_RTSP_CREDENTIALS} over RTSP",
            remedy="set a shorter password on the camera, or use a GStreamer pipeline with rtspsrc and its user-pw",
        )
    return address


def _host_start(rest: str, source: str) -> tuple[int, bool]:
    starts = host_starts(rest)
    if not starts:
        return rest.rfind("@") + 1, False  # no host fits: whatever stands there is named
    if is_plain_start(rest, starts[0]) or len(starts) == 1:
        return starts[0], len(starts) > 1
    raise SourceError(
        f"cannot tell where the password of '{masked_address(source)}' ends: it has several @",
        remedy=HOW_TO_ENCODE,
    )


def _encoded_credentials(text: str) -> str | None:
    """`user:password`, encoded where it is not yet; FFmpeg sends a user only if a colon follows."""
    if not text:
        return None
    encoded = quote(_BARE_PERCENT.sub("%25", text), safe=f"{_IN_CREDENTIALS}%", errors="surrogateescape")
    return encoded if ":" in encoded else f"{encoded}:"


def _checked_host(text: str, scheme: str, source: str) -> str:
    """`host`, `host:port` or `[IPv6]:port`."""
    where = f"cannot open '{masked_address(source)}'"
    host, bracket, port = text.rpartition("]")
    if bracket:
        host, port = f"{host}]", port.removeprefix(":")
        _check_ipv6(host[1:-1], where)
    elif text.count(":") > 1:
        raise SourceError(f"{where}: an IPv6 host needs brackets", remedy="write it as ://[2001:db8::1]:554/")
    else:
        host, _, port = text.partition(":")
    if not host and scheme not in HOSTLESS_SCHEMES:
        raise SourceError(f"{where}: it names no host", remedy=f"write it as {scheme}://HOST/PATH")
    digits = port.isascii() and port.isdigit()
    if port and not (digits and 0 < int(port[:6]) < 65536):
        perhaps_password = f"; if it is part of the password, {HOW_TO_ENCODE}" if "@" in source or not digits else ""
        remedy = f"give a whole number from 1 to 65535{perhaps_password}"
        raise SourceError(f"{where}: what follows the colon is no port", remedy=remedy)
    if re.search(r"[^\w.~%-]", host.strip("[]").replace(":", "")):
        raise SourceError(f"{where}: the host has characters that no host has", remedy=HOW_TO_ENCODE)
    return text


def _check_ipv6(host: str, where: str) -> None:
    try:
        ipaddress.IPv6Address(host.replace("%25", "%"))
    except ValueError as exc:
        raise SourceError(f"{where}: no IPv6 address stands in the brackets", remedy="e.g. ://[2001:db8::1]/") from exc


def refuse_half_address(text: str) -> None:
    """For a text that is no file: if it was meant as an address, say so, and do not repeat its password.

    Raises:
        SourceError: it has a protocol without `://`, or looks like an address without a protocol.
    """
    scheme = re.match(r"[A-Za-z]+(?=:|//)", text)
    if scheme and scheme[0].lower() in URL_SCHEMES:
        remedy = f"write an address as {scheme[0].lower()}://HOST/PATH, or name a file"
        raise SourceError(f"'{masked_address(text)}' is neither a file nor an address with ://", remedy=remedy)
    if _HALF_ADDRESS.match(text):
        remedy = "put the protocol before an address, e.g. rtsp:// or http://"
        raise SourceError(f"no such file or camera: '{masked_address(text)}', and no address with ://", remedy=remedy)


def file_path(source: str) -> Path:
    """The path that a text or a `file:` URL names: as it stands if that exists, else decoded.

    Raises:
        SourceError: the URL names another machine, or a Windows path.
    """
    if not source.lower().startswith("file:") or os.path.exists(source):
        return Path(source)
    text = source[len("file:") :]
    if text.startswith("//"):
        host, slash, path = text[2:].partition("/")
        local = host.lower() in ("", "localhost")
        if slash and not local and not os.path.lexists(text[2:]):
            raise SourceError(
                f"{source} is a file on the machine '{host}'", remedy="mount its folder here, give a path"
            )
        text = f"{slash}{path}" if local else text[2:]
    if _WINDOWS_PATH.match(text) and not os.path.exists(text):
        raise SourceError(f"{source} is a Windows path", remedy="give its path on this machine, e.g. /mnt/c/video.mp4")
    return Path(text if os.path.lexists(text) else unquote(text, errors="surrogateescape"))
