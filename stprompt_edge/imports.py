"""What to say where a package cannot be imported, or memory runs out: the remedy must be a true one.

A library that finds no memory fails to import with much the same words as one that is not there, and to install it
again changes nothing.
"""

from __future__ import annotations

import errno
import re

from stprompt_edge.errors import EnvironmentFailure

MORE_MEMORY = "free memory, or raise the limit of this process or container (ulimit -v, docker run --memory)"
_EXTRAS = {
    "torch": "export", "torchvision": "export", "open_clip": "export", "onnx": "export", "onnxscript": "export",
    "onnxruntime": "cpu", "sklearn": "train", "matplotlib": "train", "httpx": "http",
}  # fmt: skip
_NO_MEMORY = re.compile(
    r"failed to map segment from shared object(?!.*(not permitted|denied))|can(no|')t allocate memory(?! in static TLS)"
    r"|bad.alloc|unable to allocate|insufficient memory|failed to allocate memory|can't start new thread",
    flags=re.IGNORECASE,
)
_STATIC_TLS = re.compile(r"(\S+\.so[.\d]*): cannot allocate memory in static TLS block")


def says_no_memory(text: str) -> bool:
    """Is this what a native library or the loader says where it gets no memory?"""
    return bool(_NO_MEMORY.search(text))


def is_out_of_memory(exc: BaseException) -> bool:
    """Did it happen for want of the machine's memory? (Not the GPU's.)"""
    if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM):
        return True
    if isinstance(exc, BlockingIOError) and type(exc).__module__.startswith("av."):  # a thread of FFmpeg's got no stack
        return True
    cause = exc.__cause__ or exc.__context__
    return says_no_memory(str(exc)) or (cause is not None and is_out_of_memory(cause))


def import_failure(name: str, exc: BaseException, *, remedy: str, what: str = "") -> EnvironmentFailure:
    """The error for a package that cannot be imported.

    Args:
        name: of the package, as people know it.
        exc: what its import raised.
        remedy: where it is missing or broken: what to install.
        what: in place of "NAME cannot be imported".
    """
    reason = (str(exc).strip().splitlines() or [repr(exc)])[0]
    return EnvironmentFailure(f"{what or f'{name} cannot be imported'} ({reason})", remedy=import_remedy(exc, remedy))


def import_remedy(problem: BaseException | str, remedy: str) -> str:
    """The true remedy of a failed import: `remedy` unless the problem is one that installing does not solve."""
    late = _STATIC_TLS.search(str(problem))
    if late:  # the loader's room for such libraries is used up by those before it
        return f"load that library first: LD_PRELOAD={late[1]} stprompt-edge ..."
    lacks = says_no_memory(problem) if isinstance(problem, str) else is_out_of_memory(problem)
    return MORE_MEMORY if lacks else remedy


def what_lacks(exc: BaseException) -> EnvironmentFailure | None:
    """The error for what escaped everything else: memory ran out, or an optional package is not installed.

    None for a bug.
    """
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        extra = _EXTRAS.get(exc.name.partition(".")[0])
        return (extra and import_failure(exc.name, exc, remedy=f'pip install "stprompt-edge[{extra}]"')) or None
    if is_out_of_memory(exc):
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        return EnvironmentFailure(f"there is not enough memory ({reason})", remedy=MORE_MEMORY)
    return None
