"""An engine is looked at from outside before it is loaded; whatever does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stprompt_edge.bundle import Bundle, describe_file, load_bundle, seal_bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.device import Device
from stprompt_edge.runtime.backends.cuda.engines.profiles import BatchSizes, encoder_profiles, heads_profiles
from stprompt_edge.runtime.backends.cuda.engines.sidecar import (
    EngineSidecar,
    GraphEngine,
    LatencyFigures,
    check_sidecar,
    engine_folders,
    find_engine,
    folder_name,
    manifest_sha256,
    rebuild_command,
)
from tests.bundles import write_fake_bundle

ORIN = Device(name="Orin", compute_capability=(8, 7), cuda_driver="12.6", cuda_toolkit="12.6", memory_bytes=8 << 30)
TRT = "10.3.0"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_fake_bundle(tmp_path / "b", files={"encoder.fp16.onnx": b"half", "encoder.int8.onnx": b"quarter"})


def write_engine(bundle: Bundle, precision: str = "fp16", p50_ms: float | None = 5.0) -> Path:
    """An engine with a sidecar that fits, as `build-engine` leaves it."""
    folder = bundle.path / "engines" / folder_name(ORIN, TRT, precision)
    folder.mkdir(parents=True)
    for name in ("encoder.engine", "heads.engine", "preprocess.cubin"):
        (folder / name).write_bytes(name.encode())
    engines = {}
    for name, onnx, profiles in (
        ("encoder.engine", f"encoder.{precision}.onnx", encoder_profiles(bundle, BatchSizes(1, 1, 1))),
        ("heads.engine", "heads.onnx", heads_profiles(bundle)),
    ):
        sha256 = bundle.manifest.files[onnx].sha256
        engines[name] = GraphEngine(onnx=onnx, onnx_sha256=sha256, profiles=profiles)
    sidecar = EngineSidecar(
        schema_version=1, created_by="tests", precision=precision, tensorrt=TRT, gpu="Orin", compute_capability="8.7",
        cuda_driver="12.6", cuda_toolkit="12.6", bundle_manifest_sha256=manifest_sha256(bundle), kernel_compiler="nvcc",
        engines=engines, files={file.name: describe_file(file) for file in folder.iterdir()},
        latency=LatencyFigures(p50_ms=p50_ms, p95_ms=2 * p50_ms, steps=1) if p50_ms else None,
    )  # type: ignore[arg-type]  # fmt: skip
    (folder / "engine.json").write_text(sidecar.model_dump_json())
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "engine.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_one_that_fits(bundle: Bundle) -> None:
    folder = write_engine(bundle)
    assert folder.name == "orin-sm87-trt10.3.0-fp16"
    assert check_sidecar(folder, bundle, ORIN, TRT).precision == "fp16"
    assert find_engine(bundle, ORIN, TRT)[0] == folder


@pytest.mark.parametrize(
    ("device", "tensorrt", "told"),
    [
        ({"name": "NVIDIA RTX 4090"}, TRT, "GPU Orin, here is NVIDIA RTX 4090"),
        ({"compute_capability": (8, 9)}, TRT, r"compute capability 8\.7, here is 8\.9"),
        ({}, "10.3.1", r"TensorRT 10\.3\.0, here is 10\.3\.1"),
        ({}, "11.4.0", r"TensorRT 10\.3\.0, here is 11\.4\.0"),
    ],
)
def test_another_device_or_version(bundle: Bundle, device: dict[str, Any], tensorrt: str, told: str) -> None:
    write_engine(bundle)
    with pytest.raises(CheckFailed, match=rf"(?s)was built for {told}.*fix: build it here: stprompt-edge build-engine"):
        find_engine(bundle, dataclasses.replace(ORIN, **device), tensorrt)


@pytest.mark.parametrize("name", ["encoder.engine", "heads.engine", "preprocess.cubin"])
@pytest.mark.parametrize("offset", [0, -1])
def test_one_changed_byte(bundle: Bundle, name: str, offset: int) -> None:
    folder = write_engine(bundle)
    content = bytearray((folder / name).read_bytes())
    content[offset] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckFailed, match=rf"was changed: {name} is not what engine\.json says"):
        find_engine(bundle, ORIN, TRT)


@pytest.mark.parametrize("name", ["encoder.engine", "heads.engine", "preprocess.cubin"])
def test_a_missing_file_or_a_link(bundle: Bundle, name: str) -> None:
    folder = write_engine(bundle)
    (folder / name).rename(folder.parent / name)
    with pytest.raises(CheckFailed, match=f"lacks its file '{name}'"):
        find_engine(bundle, ORIN, TRT)
    for target in (folder.parent / name, Path("../../blobs/0123")):  # whole, and broken
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        with pytest.raises(CheckFailed, match=f"is none that this device built: its {name} is a link") as caught:
            find_engine(bundle, ORIN, TRT)
        assert "build it here: stprompt-edge build-engine" in caught.value.remedy


def test_files_outside_the_folder_are_not_looked_at(bundle: Bundle) -> None:
    folder = write_engine(bundle)
    edit(folder, lambda sidecar: sidecar["files"].update({"../x": sidecar["files"]["heads.engine"]}))
    with pytest.raises(CheckFailed, match=r"lacks its file '\.\./x'"):
        find_engine(bundle, ORIN, TRT)


def test_an_engine_of_another_bundle(bundle: Bundle, tmp_path: Path) -> None:
    folder = write_engine(bundle)
    other = write_fake_bundle(tmp_path / "other", files={"encoder.fp16.onnx": b"another half"})
    (other.path / "engines").mkdir()
    folder.rename(other.path / "engines" / folder.name)
    with pytest.raises(CheckFailed, match=r"was built of another encoder\.fp16\.onnx than this bundle's"):
        find_engine(other, ORIN, TRT)


def test_a_bundle_that_lost_the_graph(bundle: Bundle) -> None:
    folder = write_engine(bundle)
    edit(folder, lambda sidecar: sidecar["engines"]["heads.engine"].update(onnx="encoder.onnx"))
    with pytest.raises(CheckFailed, match=r"was built of another encoder\.onnx"):
        find_engine(bundle, ORIN, TRT)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.update(schema_version=2), "has schema 2, this program reads up to 1"),
        (lambda s: s.pop("gpu"), "damaged engine.json: gpu: Field required"),
        (lambda s: s.update(more=1), "damaged engine.json: more: Extra inputs"),
        (lambda s: s.update(precision="fp8"), "damaged engine.json: precision: "),
        (lambda s: s["engines"].pop("encoder.engine"), "has no encoder.engine"),
        (lambda s: s["files"].pop("heads.engine"), "has no heads.engine"),
    ],
)
def test_a_sidecar_that_does_not_fit(bundle: Bundle, change: Callable[[dict[str, Any]], object], told: str) -> None:
    edit(write_engine(bundle), change)
    with pytest.raises(CheckFailed, match=told):
        find_engine(bundle, ORIN, TRT)


def test_the_command_may_be_pasted_whatever_the_bundle_is_called(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "my cameras")
    assert shlex.split(rebuild_command(bundle, "int8"))[2:] == [str(bundle.path), "--precision", "int8"]


@pytest.mark.parametrize(
    ("sizes", "asked"), [((1, 1, 1), ""), ((1, 4, 8), " --batch 1,4,8"), ((4, 4, 4), " --batch 4"), ((), "")]
)
def test_an_engine_is_built_again_for_as_many_frames(bundle: Bundle, sizes: tuple[int, ...], asked: str) -> None:
    folder = write_engine(bundle)
    image = dict(zip(("min", "opt", "max"), ([size, 3, 224, 224] for size in sizes), strict=False))
    profiles = [{"name": "watch", "inputs": {"image": image}}] if sizes else []
    edit(folder, lambda sidecar: sidecar["engines"]["encoder.engine"].update(profiles=profiles))
    (folder / "heads.engine").unlink()
    with pytest.raises(CheckFailed) as caught:
        find_engine(bundle, ORIN, TRT)
    assert caught.value.remedy.endswith(f"--precision fp16{asked}")


@pytest.mark.parametrize("damage", ["heads.engine", "engine.json"])
def test_why_the_wanted_precision_was_refused(bundle: Bundle, damage: str) -> None:
    folder = write_engine(bundle, "int8")
    (folder / damage).write_bytes(b"")
    write_engine(bundle, "fp16")
    with pytest.raises(CheckFailed, match=r"(?s)trt10\.3\.0-int8 (was changed|has no readable).*--precision int8"):
        find_engine(bundle, ORIN, TRT, "int8")
    assert find_engine(bundle, ORIN, TRT)[1].precision == "fp16"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'"x"'])
def test_a_sidecar_that_is_none(bundle: Bundle, content: bytes) -> None:
    (write_engine(bundle) / "engine.json").write_bytes(content)
    with pytest.raises(CheckFailed, match=r"engine\.json"):
        find_engine(bundle, ORIN, TRT)


def test_a_bundle_without_engines(bundle: Bundle) -> None:
    with pytest.raises(EnvironmentFailure, match=r"(?s)holds no TensorRT engine.*build-engine .*--precision fp16"):
        find_engine(bundle, ORIN, TRT)
    write_engine(bundle)
    with pytest.raises(EnvironmentFailure, match=r"(?s)holds no TensorRT int8 engine.*--precision int8"):
        find_engine(bundle, ORIN, TRT, "int8")


@pytest.mark.parametrize(
    ("half", "quarter", "picked"), [(5.0, 3.0, "int8"), (3.0, 5.0, "fp16"), (5.0, 5.0, "fp16"), (None, 5.0, "int8")]
)
def test_the_faster_one_is_taken(bundle: Bundle, half: float | None, quarter: float, picked: str) -> None:
    write_engine(bundle, "fp16", half)
    write_engine(bundle, "int8", quarter)
    assert find_engine(bundle, ORIN, TRT)[1].precision == picked
    assert find_engine(bundle, ORIN, TRT, "fp16")[1].precision == "fp16"


def test_a_damaged_one_does_not_hide_a_good_one(bundle: Bundle) -> None:
    (write_engine(bundle, "fp16") / "encoder.engine").unlink()
    write_engine(bundle, "int8")
    assert find_engine(bundle, ORIN, TRT)[1].precision == "int8"


def test_what_a_killed_build_leaves(bundle: Bundle) -> None:
    folder = write_engine(bundle)
    folder.with_name(folder.name + ".partial").mkdir()
    assert list(engine_folders(bundle)) == [folder]
    old = folder.rename(folder.with_name(folder.name + ".old"))  # killed between the two renames of the swap
    assert list(engine_folders(bundle)) == [old]
    assert find_engine(bundle, ORIN, TRT)[0] == old


def test_a_bundle_stays_one_with_engines_beside(bundle: Bundle) -> None:
    write_engine(bundle)
    assert load_bundle(bundle.path).manifest == bundle.manifest
    sealed = seal_bundle(bundle.path, bundle.manifest)  # new thresholds, say
    assert sealed.manifest.files == bundle.manifest.files
    assert find_engine(sealed, ORIN, TRT)


def test_new_thresholds_do_not_make_an_engine_stale(bundle: Bundle) -> None:
    write_engine(bundle)
    alarm = bundle.manifest.alarm.model_copy(update={"threshold_on": 0.9})
    changed = seal_bundle(bundle.path, bundle.manifest.model_copy(update={"alarm": alarm}))
    assert manifest_sha256(changed) != find_engine(changed, ORIN, TRT)[1].bundle_manifest_sha256
