"""Which shapes an engine is built for, and which of them serves a call.

The encoder has two optimisation profiles in one engine, so its weights are held once: *watch* encodes the frame and the
windows that motion picked (all fine ones where motion compares embeddings), with no or one coarse window; *locate*
encodes every window. A call of another size is served by the next larger shape: windows are independent of each other,
so what is padded with window 0 is cut off again and changes nothing.

Suffixes: B frames, K fine windows, L coarse windows, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stprompt_edge.bundle import ENCODER, Bundle, Graph
from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.backends.cuda.engines.sidecar import Profile, ShapeRange

WATCH, LOCATE = "watch", "locate"
MAX_BATCH = 256
HEADS_ROWS = (1, 1, 64)  # min, opt, max of N: one row a step when watching, many when scoring afterwards


@dataclass(frozen=True)
class BatchSizes:
    """Frames at once that an engine is built for.

    Raises:
        UsageError: not 1 <= min <= opt <= max <= 256.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max <= MAX_BATCH:
            raise UsageError(
                f"--batch {self.min},{self.opt},{self.max} does not rise from 1 to at most {MAX_BATCH}",
                remedy="give one size, or the smallest, usual and largest: --batch 1,4,8",
            )

    @classmethod
    def parse(cls, text: str) -> BatchSizes:
        """One size, or three separated by commas.

        Raises:
            UsageError: anything else.
        """
        parts = [part.strip() for part in text.split(",")]
        if len(parts) not in (1, 3) or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
            raise UsageError(
                f"--batch is '{text}', expected one size or three",
                remedy="give one size, or the smallest, usual and largest: --batch 1,4,8",
            )
        return cls(*(int(part) for part in (parts * 3 if len(parts) == 1 else parts)))


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One full set of input shapes of an engine, and the index of the profile that holds it."""

    profile: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...]  # input name, shape; hashable

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one input."""
        return dict(self.shapes)[name]


def encoder_profiles(bundle: Bundle, batch: BatchSizes) -> tuple[Profile, ...]:
    """Watch and locate for a bundle's geometry and method."""
    geometry, method = bundle.geometry, bundle.manifest.method
    picked = geometry.fine_count if method.motion == "feature" else max(method.windows, 1)  # no profile without any
    return (
        _encoder_profile(WATCH, bundle, batch, picked, (0, 0, 1)),
        _encoder_profile(LOCATE, bundle, batch, geometry.fine_count, (0, geometry.coarse_count, geometry.coarse_count)),
    )


def heads_profiles(bundle: Bundle) -> tuple[Profile, ...]:
    """One profile over the number of rows."""
    return (_profile("heads", bundle.traits.heads, bundle, [{"N": rows} for rows in HEADS_ROWS]),)


def pick_variant(profiles: Sequence[Profile], wanted: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """The first profile that can hold the shapes, with each size raised to its min, opt or max; None if none can.

    Args:
        profiles: in the engine's order.
        wanted: shape by input name.
    """
    for index, profile in enumerate(profiles):
        raised = {name: _raise(shape, profile.inputs[name]) for name, shape in wanted.items()}
        if None not in raised.values():
            shapes = tuple((name, shape) for name, shape in raised.items() if shape is not None)
            return Variant(profile=index, shapes=shapes)
    return None


def largest(profiles: Sequence[Profile], name: str, axis: int) -> int:
    """The largest size of one axis of an input in any profile."""
    return max(profile.inputs[name].max[axis] for profile in profiles)


def _encoder_profile(name: str, bundle: Bundle, batch: BatchSizes, fine: int, coarse: tuple[int, int, int]) -> Profile:
    frames = (batch.min, batch.opt, batch.max)
    steps = [{"B": count, "K": fine, "L": windows} for count, windows in zip(frames, coarse, strict=True)]
    return _profile(name, ENCODER, bundle, steps)


def _profile(name: str, graph: Graph, bundle: Bundle, steps: Sequence[dict[str, int]]) -> Profile:
    """A graph with the smallest, usual and largest sizes of the axes that may have any."""
    low, usual, high = (graph.input_shapes({**bundle.sizes, **sizes}) for sizes in steps)
    ranges = {name: ShapeRange(min=low[name], opt=usual[name], max=high[name]) for name in graph.inputs}
    return Profile(name=name, inputs=ranges)


def _raise(shape: tuple[int, ...], held: ShapeRange) -> tuple[int, ...] | None:
    if len(shape) != len(held.max):
        return None
    raised = []
    for size, *steps in zip(shape, held.min, held.opt, held.max, strict=True):
        larger = [step for step in steps if step >= size]
        if not larger:
            return None
        raised.append(min(larger))
    return tuple(raised)
