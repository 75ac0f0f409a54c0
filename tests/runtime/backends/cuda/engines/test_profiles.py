"""Shapes that engines are built for, and the one that serves a call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.backends.cuda.engines.profiles import (
    BatchSizes,
    encoder_profiles,
    heads_profiles,
    largest,
    pick_variant,
)
from tests.runtime.tiny import ranking_bundle, tiny_bundle

ONE, SOME = BatchSizes(1, 1, 1), BatchSizes(1, 4, 8)


@pytest.mark.parametrize(
    ("text", "sizes"), [("1", (1, 1, 1)), ("8", (8, 8, 8)), ("1,4,8", (1, 4, 8)), (" 2 , 2 , 3 ", (2, 2, 3))]
)
def test_batch_sizes(text: str, sizes: tuple[int, int, int]) -> None:
    assert BatchSizes.parse(text) == BatchSizes(*sizes)


@pytest.mark.parametrize("text", ["", "a", "1,2", "1,2,3,4", "-1", "1.5", "²", "0", "8,4,1", "1,2,257", "1000000"])
def test_batch_sizes_that_do_not_fit(text: str) -> None:
    with pytest.raises(UsageError, match=r"(?s)--batch .*fix: give one size, or the smallest, usual and largest"):
        BatchSizes.parse(text)


@given(st.text(max_size=12))
def test_any_text_is_sizes_or_one_clear_error(text: str) -> None:
    try:
        sizes = BatchSizes.parse(text)
    except UsageError:
        return
    assert 1 <= sizes.min <= sizes.opt <= sizes.max


def test_watch_and_locate() -> None:
    watch, locate = encoder_profiles(tiny_bundle(), SOME)
    assert (watch.name, locate.name) == ("watch", "locate")
    assert vars(watch.inputs["image"]) == {"min": (1, 3, 28, 28), "opt": (4, 3, 28, 28), "max": (8, 3, 28, 28)}
    assert vars(watch.inputs["fine"]) == {"min": (1, 12), "opt": (4, 12), "max": (8, 12)}
    assert vars(watch.inputs["coarse"]) == {"min": (1, 0), "opt": (4, 0), "max": (8, 1)}
    assert vars(locate.inputs["fine"]) == {"min": (1, 49), "opt": (4, 49), "max": (8, 49)}
    assert vars(locate.inputs["coarse"]) == {"min": (1, 0), "opt": (4, 16), "max": (8, 16)}


@pytest.mark.parametrize("bundle", [tiny_bundle(motion="feature"), ranking_bundle()])
def test_a_method_that_needs_all_windows_watches_all(bundle: Bundle) -> None:
    assert encoder_profiles(bundle, ONE)[0].inputs["fine"].max == (1, 49)
    assert encoder_profiles(tiny_bundle(windows=0), ONE)[0].inputs["fine"].max == (1, 1)


def test_heads_of_both_methods() -> None:
    (heads,) = heads_profiles(tiny_bundle())
    assert {name: held.max for name, held in heads.inputs.items()} == {"context": (64, 16), "clip": (64, 16)}
    (heads,) = heads_profiles(ranking_bundle())
    assert heads.inputs["windows"].min == (1, 49, 16)


def shapes(batch: int, fine: int, coarse: int) -> dict[str, tuple[int, ...]]:
    return {"image": (batch, 3, 28, 28), "fine": (batch, fine), "coarse": (batch, coarse)}


@pytest.mark.parametrize(
    ("wanted", "profile", "raised"),
    [
        ((1, 12, 0), 0, (1, 12, 0)),
        ((1, 12, 1), 0, (1, 12, 1)),
        ((1, 5, 0), 0, (1, 12, 0)),
        ((1, 0, 0), 0, (1, 12, 0)),
        ((2, 12, 0), 0, (4, 12, 0)),
        ((5, 12, 0), 0, (8, 12, 0)),
        ((1, 12, 2), 1, (1, 49, 16)),
        ((1, 49, 0), 1, (1, 49, 0)),
        ((1, 49, 16), 1, (1, 49, 16)),
        ((8, 13, 1), 1, (8, 49, 16)),
    ],
)
def test_the_next_larger_shape_serves(wanted: Any, profile: int, raised: Any) -> None:
    found = pick_variant(encoder_profiles(tiny_bundle(), SOME), shapes(*wanted))
    assert found is not None
    assert found.profile == profile
    assert dict(found.shapes) == shapes(*raised)
    assert found.shape("fine") == raised[:2]


@pytest.mark.parametrize("wanted", [(9, 12, 0), (1, 50, 0), (1, 12, 17)])
def test_what_no_profile_holds(wanted: Any) -> None:
    assert pick_variant(encoder_profiles(tiny_bundle(), SOME), shapes(*wanted)) is None
    assert pick_variant(heads_profiles(tiny_bundle()), {"context": (1,), "clip": (1, 16)}) is None


@given(st.integers(1, 8), st.integers(0, 49), st.integers(0, 16))
def test_few_shapes_serve_all(batch: int, fine: int, coarse: int) -> None:
    profiles = encoder_profiles(tiny_bundle(), SOME)
    found = pick_variant(profiles, shapes(batch, fine, coarse))
    assert found is not None
    for name, shape in shapes(batch, fine, coarse).items():
        held = profiles[found.profile].inputs[name]
        assert all(a <= b for a, b in zip(shape, found.shape(name), strict=True))
        assert all(size in steps for size, *steps in zip(found.shape(name), held.min, held.opt, held.max, strict=True))


def test_the_largest_batch() -> None:
    assert largest(encoder_profiles(tiny_bundle(), SOME), "image", 0) == 8
