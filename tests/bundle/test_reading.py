"""The contract: a whole bundle loads, and everything else is one clear error that names the file and the remedy."""

from __future__ import annotations

import contextlib
import json
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from stprompt_edge.bundle import (
    ENCODER_NAMES,
    HEADS_NAME,
    MANIFEST_NAME,
    TEXT_NAME,
    Bundle,
    load_bundle,
)
from stprompt_edge.errors import CheckFailed, UsageError, UserError
from tests.bundles import edit_manifest, fake_text, replace_file, unit_rows, write_fake_bundle

FILES = (ENCODER_NAMES["fp32"], ENCODER_NAMES["cpu8"], HEADS_NAME, TEXT_NAME)
EXPORT_AGAIN = "export it again, or copy it again from where it came"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A fake bundle on the disk."""
    return write_fake_bundle(tmp_path / "bundle").path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_whole_bundle_loads(path: Path) -> None:
    bundle = load_bundle(path)
    assert bundle.path == path
    assert bundle.precisions == ("fp32", "cpu8")
    assert bundle.vocabulary.class_names == ("normal", "fighting", "fire")
    assert (bundle.geometry.fine_count, bundle.geometry.coarse_count) == (49, 16)
    assert bundle.preprocessing.size == 224
    for name, tensor in bundle.text.as_dict().items():
        np.testing.assert_array_equal(tensor, fake_text()[name])


def test_a_path_may_be_text(path: Path) -> None:
    assert load_bundle(str(path)).manifest == load_bundle(path).manifest


def test_mil_ranking_needs_heads(tmp_path: Path) -> None:
    method = {"name": "mil-ranking", "windows": 49}
    assert write_fake_bundle(tmp_path / "b", method=method).manifest.method.windows == 49
    with pytest.raises(CheckFailed, match=r"does not list heads\.onnx, which mil-ranking needs"):
        write_fake_bundle(tmp_path / "b", method=method, files={HEADS_NAME: None})


def test_zero_shot_needs_no_heads(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "b", files={HEADS_NAME: None}, method={"name": "zero-shot"})
    assert HEADS_NAME not in bundle.manifest.files


def test_file_gives_the_path_of_what_is_listed(path: Path) -> None:
    bundle = load_bundle(path)
    assert bundle.file(TEXT_NAME) == path / TEXT_NAME
    with pytest.raises(UsageError, match=r"holds no encoder\.fp16\.onnx, only encoder\.cpu8\.onnx, .*\n.*--precision"):
        bundle.file(ENCODER_NAMES["fp16"])


def test_further_files_are_listed_and_checked(tmp_path: Path) -> None:
    path = write_fake_bundle(tmp_path / "b", files={"thresholds.json": b"{}"}).path
    load_bundle(path)
    (path / "thresholds.json").write_bytes(b"[]")
    with pytest.raises(CheckFailed, match=r"thresholds\.json was changed"):
        load_bundle(path)


# ---- what is not a bundle


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "missing"),
        (lambda path: path.mkdir(), "a folder without bundle.json"),
        (lambda path: path.write_bytes(b""), "not a folder"),
        (lambda path: (path / MANIFEST_NAME).mkdir(parents=True), "a folder without bundle.json"),
    ],
)
def test_says_what_is_there_instead_of_a_bundle(tmp_path: Path, make: Callable[[Path], Any], found: str) -> None:
    make(tmp_path / "b")
    with pytest.raises(
        UsageError, match=rf"no bundle at .*b: it is {found}\n  fix: make one with: stprompt-edge export"
    ):
        load_bundle(tmp_path / "b")


# ---- damaged files


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(path: Path, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(CheckFailed, match=rf"{re.escape(name)} is missing\n  fix: {EXPORT_AGAIN}"):
        load_bundle(path)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file(path: Path, name: str) -> None:
    (path / name).unlink()
    (path / name).mkdir()
    with pytest.raises(CheckFailed, match=rf"{re.escape(name)} is missing"):
        load_bundle(path)


@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit(path: Path, name: str, position: int) -> None:
    content = bytearray((path / name).read_bytes())
    content[position] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CheckFailed, match=rf"{re.escape(name)} was changed: its sha256 .*\n  fix: {EXPORT_AGAIN}"):
        load_bundle(path)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file(path: Path, name: str) -> None:
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[:-1])
    with pytest.raises(CheckFailed, match=rf"{re.escape(name)} has {len(content) - 1} bytes, expected {len(content)}"):
        load_bundle(path)


# ---- bundle.json


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not json", b"\xff\xfe{}", b'{"schema_version": 1', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"],
    ids=["empty", "cut", "text", "not UTF-8", "truncated", "deep", "long number"],
)
def test_a_manifest_that_is_not_json(path: Path, content: bytes) -> None:
    (path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(CheckFailed, match=rf"bundle\.json is not JSON \(.*\)\n  fix: {EXPORT_AGAIN}"):
        load_bundle(path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"text"'])
def test_a_manifest_that_is_not_an_object(path: Path, content: bytes) -> None:
    (path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(CheckFailed, match=r"bundle\.json, top level: Input should be"):
        load_bundle(path)


def test_a_newer_schema_says_to_upgrade(path: Path) -> None:
    edit_manifest(path, lambda manifest: manifest.update(schema_version=2, new_section={}))
    with pytest.raises(CheckFailed, match=r"schema 2, this program reads up to 1\n  fix: upgrade: pip install"):
        load_bundle(path)


def section(name: str, /, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest[name].update(values)


def listed(name: str) -> Callable[[dict[str, Any]], None]:
    """The manifest lists `name` in place of encoder.onnx."""
    return lambda manifest: manifest["files"].update({name: manifest["files"].pop(ENCODER_NAMES["fp32"])})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.pop("schema_version"), "schema_version: Field required"),
        (lambda m: m.pop("clip"), "clip: Field required"),
        (lambda m: m.update(schema_version=0), "schema_version: Input should be 1"),
        (lambda m: m.update(schema_version="1"), "schema_version: Input should be 1"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (section("method", simga=1.0), "method.simga: Extra inputs are not permitted"),
        (section("method", name="magic"), "method.name: Input should be 'stprompt', 'mil-ranking' or 'zero-shot'"),
        (section("method", windows=-1), "method.windows: Input should be greater than or equal to 0"),
        (section("method", windows=0, name="zero-shot"), "method.windows is 0 of 49 fine windows"),
        (section("method", windows=50), "method.windows is 50 of 49 fine windows"),
        (section("method", sigma=0), "method.sigma: Input should be greater than 0"),
        (section("method", tau=float("inf")), "method.tau: Input should be a finite number"),
        (section("method", tau=float("nan")), "method.tau: Input should be"),
        (section("method", stride=0), "method.stride: Input should be greater than or equal to 1"),
        (section("localization", fine_weight=1.5), "localization.fine_weight: Input should be less than or equal to 1"),
        (section("localization", threshold=float("nan")), "localization.threshold: Input should be"),
        (section("alarm", threshold_on=0.2, threshold_off=0.3), "alarm.threshold_off is above alarm.threshold_on"),
        (section("alarm", min_seconds=-1), "alarm.min_seconds: Input should be greater than or equal to 0"),
        (section("alarm", min_seconds=float("inf")), "alarm.min_seconds: Input should be a finite number"),
        (section("clip", embedding_width=0), "clip.embedding_width: Input should be greater than or equal to 1"),
        (section("preprocessing", size=112), "geometry is for 224 px, preprocessing for 112"),
        (section("preprocessing", std_rgb=[0.2, 0, 0.2]), "preprocessing.std_rgb.1: Input should be greater than 0"),
        (
            section("preprocessing", mean_rgb=[0.2, float("nan"), 0.2]),
            "preprocessing.mean_rgb.1: Input should be a fin",
        ),
        (section("preprocessing", mean_rgb=[0.2]), "preprocessing.mean_rgb.1: Field required"),
        (section("geometry", patch_size=14), "geometry: fine window size 32 is not a multiple"),
        (section("geometry", coarse={"size": 80, "stride": 64}), "geometry: coarse windows .* do not cover 224 px"),
        (section("vocabulary", classes=[]), "vocabulary: classes is empty"),
        (section("vocabulary", surprise=1), "vocabulary: unknown key 'surprise'"),
        (lambda m: m.update(vocabulary=[]), "vocabulary: Input should be a valid dictionary"),
        (lambda m: m["files"].pop(TEXT_NAME), r"does not list text\.safetensors, which stprompt needs"),
        (lambda m: m["files"].pop(HEADS_NAME), r"does not list heads\.onnx, which stprompt needs"),
        (
            lambda m: m["method"].update(name="mil-ranking"),
            "windows is 12 of 49 fine windows, mil-ranking judges",
        ),
        (lambda m: [m["files"].pop(name) for name in FILES[:2]], "lists no encoder"),
        (lambda m: m.pop("files"), r"does not list text\.safetensors"),
        (
            lambda m: m["files"][TEXT_NAME].update(sha256="abc"),
            r"files\.text\.safetensors\.sha256: String should match",
        ),
        (lambda m: m["files"][TEXT_NAME].update(sha256="0" * 64), r"text\.safetensors was changed"),
        (lambda m: m["files"][TEXT_NAME].update(bytes=-1), r"files\.text\.safetensors\.bytes: Input should be greater"),
        (listed("other.onnx"), r"other\.onnx is missing"),
        (listed("x" * 255), "xxx is missing"),
        (listed("x" * 300), "xxx', which is not a path inside the bundle"),
        (listed(""), "lists '', which is not a path inside the bundle"),
        (listed("."), r"\. is missing"),
        (listed("../encoder.onnx"), r"lists '\.\./encoder\.onnx', which is not a path inside the bundle"),
        (listed("engines/../../x"), "which is not a path inside the bundle"),
        (listed("/etc/hostname"), "lists '/etc/hostname', which is not a path inside the bundle"),
        (listed("..\\encoder.onnx"), "which is not a path inside the bundle"),
        (listed("C:\\encoder.onnx"), "which is not a path inside the bundle"),
        (listed("./encoder.onnx"), "which is not a path inside the bundle"),  # one file, one name
        (listed("encoder.onnx/"), "which is not a path inside the bundle"),
        (listed("nul\0byte"), "which is not a path inside the bundle"),
        (listed("\ud800"), "which is not a path inside the bundle"),
    ],
)
def test_a_manifest_that_does_not_fit(path: Path, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit_manifest(path, edit)
    with pytest.raises(CheckFailed, match=message) as caught:
        load_bundle(path)
    assert str(path) in caught.value.what
    assert caught.value.remedy == EXPORT_AGAIN


def test_a_symlink_to_the_bundle_itself_is_fine(path: Path) -> None:
    link = path.with_name("current")
    link.symlink_to(path)
    assert load_bundle(link).path == link


# ---- text.safetensors


def text_with(**changes: Any) -> bytes:
    return save({name: tensor for name, tensor in {**fake_text(), **changes}.items() if tensor is not None})


NOT_A_NUMBER = unit_rows(3)
NOT_A_NUMBER[1, 1] = np.nan


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a safetensors file"),
        (b"junk" * 10, "is not a safetensors file"),
        (text_with()[:-1], "is not a safetensors file"),
        (text_with(label_prompts=None), r"holds \['abnormal_phrases', 'normal_phrases'\], expected"),
        (text_with(more=unit_rows(1)), r"holds .*'more'"),
        (text_with(label_prompts=unit_rows(4)), r"label_prompts is F32\[4, 8\], expected F32\[3, 8\]"),
        (text_with(normal_phrases=unit_rows(2, width=4)), r"normal_phrases is F32\[2, 4\], expected"),
        (text_with(abnormal_phrases=unit_rows(3)[0]), r"abnormal_phrases is F32\[8\], expected"),
        (text_with(label_prompts=unit_rows(3).astype(np.float64)), r"label_prompts is F64\[3, 8\]"),
        (text_with(label_prompts=unit_rows(3) * 1.01), "label_prompts is not of unit length"),
        (text_with(label_prompts=unit_rows(3) * 0), "label_prompts is not of unit length"),
        (text_with(label_prompts=NOT_A_NUMBER), "label_prompts is not of unit length: 1 of its values are NaN"),
        (text_with().replace(b'"F32"', b'"F8X"'), "is not a safetensors file"),
        (text_with(label_prompts=np.zeros((3, 8), np.uint8)).replace(b'"U8"', b'"F8_E4M3"'), "is not a safetensors"),
    ],
)
def test_text_that_does_not_fit(path: Path, content: bytes, message: str) -> None:
    replace_file(path, TEXT_NAME, content)
    with pytest.raises(CheckFailed, match=rf"text\.safetensors,? {message}") as caught:
        load_bundle(path)
    assert caught.value.remedy == EXPORT_AGAIN


def test_a_text_file_of_an_unusual_type_is_refused(path: Path) -> None:
    header = {
        name: {"dtype": "F8_E4M3", "shape": [1, 1], "data_offsets": [i, i + 1]} for i, name in enumerate(fake_text())
    }
    text = json.dumps(header).encode()
    replace_file(path, TEXT_NAME, len(text).to_bytes(8, "little") + text + b"\0\0\0")
    with pytest.raises(CheckFailed, match=r"text\.safetensors, label_prompts is F8_E4M3\[1, 1\], expected F32\[3, 8\]"):
        load_bundle(path)


# ---- anything at all in bundle.json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["../x", "/", TEXT_NAME, 10**400, "\ud800", "x" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def paths_in(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix] * bool(prefix) + [place for key, inner in items for place in paths_in(inner, (*prefix, key))]


def check_loads_or_refuses(path: Path, manifest: bytes) -> None:
    (path / MANIFEST_NAME).write_bytes(manifest)
    with contextlib.suppress(UserError):  # anything else fails the test
        assert isinstance(load_bundle(path), Bundle)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A fake bundle and its manifest."""
    path = write_fake_bundle(tmp_path_factory.mktemp("sealed") / "bundle").path
    return path, json.loads((path / MANIFEST_NAME).read_text())


@given(data=st.data())
@quick
def test_any_edit_of_the_manifest_loads_or_is_refused(sealed: tuple[Path, dict[str, Any]], data: st.DataObject) -> None:
    path, original = sealed
    content = json.loads(json.dumps(original))
    *parents, key = data.draw(st.sampled_from(paths_in(original)))
    target = content
    for parent in parents:
        target = target[parent]
    edit = data.draw(st.sampled_from(["replace", "remove", "rename"]))
    if edit == "replace":
        target[key] = data.draw(JSON_VALUES)
    else:
        value = target.pop(key)
        if edit == "rename" and isinstance(target, dict):
            target[data.draw(st.text(max_size=8) | st.sampled_from(["\ud800", "x" * 300, "../x"]))] = value
    check_loads_or_refuses(path, json.dumps(content).encode())


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
@quick
def test_any_bytes_for_a_manifest_are_refused(sealed: tuple[Path, dict[str, Any]], content: bytes) -> None:
    check_loads_or_refuses(sealed[0], content)


@given(st.integers(0, 4000), st.integers(0, 255))
@quick
def test_any_changed_byte_of_the_manifest(sealed: tuple[Path, dict[str, Any]], position: int, byte: int) -> None:
    content = bytearray(json.dumps(sealed[1]).encode())
    content[position % len(content)] = byte
    check_loads_or_refuses(sealed[0], bytes(content))
