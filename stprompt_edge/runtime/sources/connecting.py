"""Why a URL did not open: FFmpeg's error numbers in our words, with what to do about each."""

from __future__ import annotations

import errno
import re
import socket

import av.error

from stprompt_edge.errors import SourceError
from stprompt_edge.masking import masked
from stprompt_edge.runtime.addresses import HOW_TO_ENCODE, Address, parse_address, scheme_of

_DEFAULT_PORTS = "RTSP's is 554, HTTP's 80"
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def connection_failure(name: str, url: str, exc: Exception) -> SourceError | None:
    """The error for a URL that FFmpeg did not open; None if `url` is none.

    Args:
        name: of the source, for people.
        url: as FFmpeg got it.
        exc: what `av.open` raised.
    """
    if scheme_of(url) is None:
        return None
    address = parse_address(url)
    what, remedy = _reason(address, exc)
    if address.ambiguous:
        remedy = f"{remedy}; if a part of it belongs to the password, {HOW_TO_ENCODE}"
    return SourceError(f"cannot open {name}: {what}", remedy=remedy)


def _reason(address: Address, exc: Exception) -> tuple[str, str]:
    number = getattr(exc, "errno", None)
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        return _unauthorized(address)
    if isinstance(exc, av.error.HTTPForbiddenError):
        return "the server forbids it (403)", "give this user the right to watch the stream, or unblock this machine"
    if isinstance(exc, av.error.HTTPNotFoundError):
        return "the server has nothing at this path (404)", "check what follows the host: the camera's manual names it"
    if isinstance(exc, av.error.ConnectionRefusedError):
        return "connection refused", f"check the port ({_DEFAULT_PORTS}), and that the stream is switched on"
    if isinstance(exc, av.error.ProtocolNotFoundError):
        return f"this FFmpeg has no {address.scheme}", "use RTSP or HTTP, or a GStreamer pipeline"
    if number in _UNREACHABLE:
        return "no route to the host", "check the address, the cable and the network, and that the device is on"
    if isinstance(exc, av.error.InvalidDataError):
        return "it answers, but not with a video that FFmpeg knows", "give the address of the stream, not of a web page"
    if isinstance(exc, av.error.HTTPServerError):
        return "the server fails (5XX)", "try again later; it may allow few viewers at a time"
    if isinstance(exc, av.error.HTTPClientError):
        return "the server refuses the request (4XX)", "check path and parameters against the camera's manual"
    if not _resolves(address):
        return "no such host name", "check its spelling, or write the IP address"
    if number == errno.EIO and address.scheme in ("https", "rtsps"):
        return "the encrypted connection fails", "check that this port speaks TLS"
    said = masked(getattr(exc, "strerror", None) or str(exc))
    return said, "check the address, and that the device is on"


def _unauthorized(address: Address) -> tuple[str, str]:
    if address.credentials is None:
        return "user name or password refused: there are none in the address", "write them as ://USER:PASSWORD@host/"
    if "%" in address.credentials:
        return "user name or password refused", "correct them; %XX in them is decoded, so write a % itself as %25"
    return "user name or password refused", "correct them; some cameras have an account of their own for streams"


def _resolves(address: Address) -> bool:
    host = re.sub(r":\d*$", "", address.host).strip("[]")
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def without_address(exc: Exception, name: str) -> Exception:
    """The same exception as a cause to show: FFmpeg's carry the whole URL, and a traceback would print it."""
    if isinstance(exc, av.error.FFmpegError):
        return type(exc)(exc.errno or 0, exc.strerror or "", name)
    return type(exc)(masked(str(exc)))
