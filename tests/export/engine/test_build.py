"""From a bundle to engines in it, whole or not at all; with a TensorRT that is not there."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import Bundle, load_bundle, seal_bundle
from stprompt_edge.cli.build_engine import build_engine as build_engine_command
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, SourceError, UsageError
from stprompt_edge.export import parity
from stprompt_edge.export.engine import BatchSizes, BuiltEngine, EngineSettings, build, build_engine, gate
from stprompt_edge.runtime.backends.cuda.engines.sidecar import LatencyFigures, find_engine
from stprompt_edge.runtime.backends.cuda.kernels import BuiltCubin, launch
from stprompt_edge.runtime.backends.cuda.kernels.job import make_job
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.frames import CameraFrame
from tests.fakes.device import FakeMachine, engine_bundle, install
from tests.layouts import LAYOUTS, Layout, contents, one_link


def random_frames(count: int) -> list[CameraFrame]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3), dtype=np.uint8)
    return [CameraFrame(index=index, seconds=index / 25, image_bgr=image) for index, image in enumerate(pixels)]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """TensorRT 10.3 on an Orin; few frames and steps."""

    def compile_kernel(capability: tuple[int, int], target: Path) -> BuiltCubin:
        target.write_bytes(b"cubin for %d.%d" % capability)
        return BuiltCubin(path=target, compiler="nvcc 12.6", passed_over=())

    monkeypatch.setattr(build, "build_cubin", compile_kernel)
    monkeypatch.setattr(build, "read_parity_frames", lambda source, count: random_frames(2))
    monkeypatch.setattr(gate, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(gate, "TIMED_STEPS", 2)
    return install(monkeypatch)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return engine_bundle(tmp_path / "b")


def built(bundle: Bundle, **settings: Any) -> BuiltEngine:
    return build_engine(bundle.path, EngineSettings(**settings))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_whole_build(machine: FakeMachine, bundle: Bundle) -> None:
    told: list[tuple[str, float]] = []
    settings = EngineSettings(batch=BatchSizes(1, 2, 4))
    engine = build_engine(bundle.path, settings, lambda what, done: told.append((what, done)))
    folder = bundle.path / "engines" / "orin-sm87-trt10.3.0-fp16"
    assert engine.folder == folder
    assert names(folder) == ["encoder.engine", "engine.json", "heads.engine", "preprocess.cubin", "timing.cache"]
    assert names(folder.parent) == [folder.name]
    sidecar = engine.sidecar
    assert (sidecar.tensorrt, sidecar.gpu, sidecar.compute_capability) == ("10.3.0", "Orin", "8.7")
    assert (sidecar.cuda_driver, sidecar.cuda_toolkit, sidecar.kernel_compiler) == ("12.6", "12.6", "nvcc 12.6")
    assert set(sidecar.files) == {"encoder.engine", "heads.engine", "preprocess.cubin", "timing.cache"}
    assert sidecar.engines["encoder.engine"].profiles[0].inputs["fine"].max == (4, 12)
    assert sidecar.parity is not None
    assert sidecar.parity.min_cosine > 0.99999
    assert sidecar.latency is not None
    assert engine.notes == ()
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert {"Building Engine", "compiling the preprocessing kernel", "timing the watch step"} <= {t for t, _ in told}
    assert (machine.driver.memory, machine.driver.contexts) == ({}, 0)  # nothing is left on the device
    assert load_bundle(bundle.path).manifest == bundle.manifest


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), one_link])
def test_an_engine_of_a_bundle_of_links_is_built_beside_them(
    machine: FakeMachine, bundle: Bundle, tmp_path: Path, layout: Layout
) -> None:
    """The folder of the links gets the engine; what they point to stays as it was."""
    (tmp_path / "links").mkdir()
    linked = layout(bundle.path, tmp_path / "links")
    before = contents(tmp_path / "links")
    for _ in range(2):  # new, and in place of an older one
        engine = build_engine(linked, EngineSettings())
        assert engine.folder.parent == linked / "engines"
    after = contents(tmp_path / "links")
    assert {name: content for name, content in after.items() if "/engines/" not in name} == before
    assert not any(path.is_symlink() for path in engine.folder.iterdir())
    assert find_engine(load_bundle(linked), build.look_at_device(), "10.3.0")[0] == engine.folder


def test_what_was_built_runs(machine: FakeMachine, bundle: Bundle) -> None:
    built(bundle)
    choice = open_backend("auto", bundle)
    with choice.backend as backend:
        assert backend.description == "TensorRT 10.3.0 on Orin, orin-sm87-trt10.3.0-fp16, CUDA graph"
        assert choice.reason == "built for this device"


@pytest.mark.parametrize("wrong", [False, True])
def test_the_command(
    machine: FakeMachine,
    bundle: Bundle,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wrong: bool,
) -> None:
    monkeypatch.setattr(build, "comparison_notes", lambda *arguments: ("a note",))
    machine.trt.wrong = wrong
    build_engine_command(
        bundle.path, precision="fp16", batch="1,2,4", workspace_gib=2.0, timing_cache=None, verify=DEMO_CLIP, force=True
    )
    said = capsys.readouterr().err
    assert "orin-sm87-trt10.3.0-fp16" in said
    assert "TensorRT 10.3.0 on Orin, compute capability 8.7" in said
    assert "encoder, watch step: p50" in said
    assert "a note" in said
    assert ("missed parity, kept by --force: smallest cosine -1" if wrong else "parity with fp32: ") in said


@pytest.mark.parametrize(("precision", "cleared"), [("fp16", [0, 1]), ("fp32", [1, 1]), ("int8", [0, 1])])
def test_tf32_is_off_where_fp32_was_asked_for(
    machine: FakeMachine, bundle: Bundle, precision: str, cleared: list[int]
) -> None:
    engine = built(bundle, precision=precision)
    assert engine.sidecar.precision == precision
    configs = [what for name, what in machine.trt.calls if name == "build"]
    assert [len(config.cleared) for config in configs] == cleared  # the encoder's, then the heads'


def test_the_devices_own_preprocessing_is_used_where_it_agrees(machine: FakeMachine, bundle: Bundle) -> None:
    assert built(bundle).sidecar.device_frames


def make_brighter(machine: FakeMachine, patch: pytest.MonkeyPatch) -> None:
    def brighter(**settings: Any) -> Any:
        job = make_job(**settings)
        job["offset"] += 3
        return job

    patch.setattr(launch, "make_job", brighter)


def refuse_cubin(machine: FakeMachine, patch: pytest.MonkeyPatch) -> None:
    machine.driver.failing = "module_from_buffer"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (make_brighter, "frames are preprocessed on the CPU: the device's give cosine"),
        (refuse_cubin, "frames are preprocessed on the CPU: CUDA failed while loading preprocess.cubin"),
    ],
)
def test_a_kernel_that_does_not_do_is_not_used(
    machine: FakeMachine,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[FakeMachine, pytest.MonkeyPatch], None],
    note: str,
) -> None:
    change(machine, monkeypatch)
    engine = built(bundle)
    assert not engine.sidecar.device_frames
    assert engine.notes[0].startswith(note)
    assert (machine.driver.memory, machine.driver.contexts) == ({}, 0)


@pytest.mark.parametrize(
    ("method", "why"),
    [({"motion": "feature"}, "compares embeddings, not pixels"), ({"windows": 0}, "looks at no windows")],
)
def test_a_method_that_does_not_pick_by_pixels_needs_the_cpu(
    machine: FakeMachine, tmp_path: Path, method: dict[str, Any], why: str
) -> None:
    engine = built(engine_bundle(tmp_path / "b", method=method))
    assert engine.notes == (f"frames are preprocessed on the CPU: the method {why}",)


def test_zero_shot_has_no_heads(machine: FakeMachine, tmp_path: Path) -> None:
    whole = engine_bundle(tmp_path / "b")
    (whole.path / "heads.onnx").unlink()
    method = whole.manifest.method.model_copy(update={"name": "zero-shot"})
    bundle = seal_bundle(whole.path, whole.manifest.model_copy(update={"method": method}))
    assert set(built(bundle).sidecar.engines) == {"encoder.engine"}


def test_an_engine_that_computes_something_else(machine: FakeMachine, bundle: Bundle) -> None:
    machine.trt.wrong = True
    with pytest.raises(CheckFailed, match=r"the fp16 engine missed parity with fp32 on 4 scores of clip\.mp4: smalle"):
        built(bundle)
    assert names(bundle.path / "engines") == []
    engine = built(bundle, force=True)
    assert engine.sidecar.parity is not None
    assert engine.sidecar.parity.accepted_by_force
    assert (machine.driver.memory, machine.driver.contexts) == ({}, 0)


def test_a_build_that_fails_leaves_the_engine_before(machine: FakeMachine, bundle: Bundle) -> None:
    before = built(bundle)
    machine.trt.build_error = "Error Code 2: OutOfMemory"
    with pytest.raises(EnvironmentFailure, match="GPU memory ran out"):
        built(bundle)
    machine.trt.build_error, machine.trt.wrong = None, True
    with pytest.raises(CheckFailed, match="missed parity"):
        built(bundle)
    machine.trt.wrong = False
    assert find_engine(bundle, build.look_at_device(), "10.3.0")[1] == before.sidecar
    assert names(bundle.path / "engines") == [before.folder.name]


def test_what_a_killed_build_left_is_cleared_away(machine: FakeMachine, bundle: Bundle) -> None:
    before = built(bundle)
    left = before.folder.with_name(before.folder.name + ".partial")
    left.mkdir()
    (left / "encoder.engine").write_bytes(b"half of one")
    assert find_engine(bundle, build.look_at_device(), "10.3.0")[0] == before.folder
    assert names(built(bundle).folder.parent) == [before.folder.name]


def test_ctrl_c_ends_the_build(machine: FakeMachine, bundle: Bundle) -> None:
    settings = EngineSettings()

    def progress(what: str, done: float) -> None:
        if what == "Tactic selection":
            settings.stop.set()

    with pytest.raises(KeyboardInterrupt):
        build_engine(bundle.path, settings, progress)
    assert names(bundle.path / "engines") == []


def test_timings_are_kept_for_the_next_build(machine: FakeMachine, bundle: Bundle, tmp_path: Path) -> None:
    assert (built(bundle).folder / "timing.cache").read_bytes() == b"++"
    assert (built(bundle).folder / "timing.cache").read_bytes() == b"++++"
    other = tmp_path / "mine.cache"
    engine = built(bundle, timing_cache=other)
    assert other.read_bytes() == b"++"
    assert "timing.cache" not in names(engine.folder)


@pytest.mark.parametrize(("name", "told"), [("", "is a folder"), ("none/my.cache", "in a folder that does not exist")])
def test_a_timing_cache_that_could_not_be_written_is_refused_before_building(
    machine: FakeMachine, bundle: Bundle, tmp_path: Path, name: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        built(bundle, timing_cache=tmp_path / name)
    assert machine.trt.calls == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("b/bundle.json", r"bundle.json of the bundle"),
        ("b/heads.onnx", r"heads.onnx of the bundle"),
        ("b/engines/other/timing.cache", r"timing.cache is the engine .*other/timing.cache"),
        ("clip.mp4", r"clip.mp4 is the footage .*clip.mp4"),
        ("link", r"link is heads.onnx of the bundle"),
    ],
)
def test_a_timing_cache_that_is_an_input(
    machine: FakeMachine, bundle: Bundle, tmp_path: Path, name: str, told: str
) -> None:
    (bundle.path / "engines" / "other").mkdir(parents=True)
    (bundle.path / "engines" / "other" / "timing.cache").touch()
    shutil.copy(DEMO_CLIP, tmp_path / "clip.mp4")
    (tmp_path / "link").symlink_to(bundle.path / "heads.onnx")
    with pytest.raises(UsageError, match=rf"{told}.*, which would be lost\n.*--timing-cache"):
        built(bundle, timing_cache=tmp_path / name, verify=tmp_path / "clip.mp4")
    assert machine.trt.calls == []


def test_an_engine_that_is_replaced_holds_no_input(machine: FakeMachine, bundle: Bundle) -> None:
    folder = built(bundle).folder
    shutil.copy(DEMO_CLIP, folder / "clip.mp4")
    with pytest.raises(UsageError, match=r"is replaced with all that it holds, and the footage .*clip.mp4 is in it"):
        built(bundle, verify=folder / "clip.mp4")
    with pytest.raises(UsageError, match=r"is replaced with all that it holds, and the timing cache .*mine is in it"):
        built(bundle, timing_cache=folder / "mine")


def test_a_timing_cache_that_cannot_be_read(
    machine: FakeMachine, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.suffix == ".cache":
            raise PermissionError(13, "Permission denied")
        return read(path)

    built(bundle)
    (tmp_path / "my.cache").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UsageError, match=r"my\.cache cannot be read \(Permission denied\)"):
        built(bundle, timing_cache=tmp_path / "my.cache")
    assert built(bundle).sidecar.precision == "fp16", "the engine's own is only left out"


@pytest.mark.parametrize(
    ("ours", "theirs", "note"),
    [
        (3.0, 5.0, "int8 takes 3.00 ms where fp16 takes 5.00 ms"),
        (5.0, 5.0, "int8 is not faster than fp16 here: 5.00 ms against 5.00 ms; fp16 will be used"),
        (6.0, 5.0, "int8 is not faster than fp16 here: 6.00 ms against 5.00 ms; fp16 will be used"),
    ],
)
def test_int8_has_to_be_faster(
    machine: FakeMachine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, ours: float, theirs: float, note: str
) -> None:
    assert built(bundle, precision="int8").notes == ("build --precision fp16 too, to see whether int8 is faster here",)
    for precision, p50_ms in (("fp16", theirs), ("int8", ours)):
        figures = LatencyFigures(p50_ms=p50_ms, p95_ms=9, steps=1)
        monkeypatch.setattr(build, "measure_latency", lambda *arguments, figures=figures: figures)
        engine = built(bundle, precision=precision)
    assert engine.notes == (note,)
    with open_backend("tensorrt", bundle).backend as backend:
        assert backend.precision == ("int8" if ours < theirs else "fp16")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"precision": "fp61"}, r"unknown precision 'fp61'\n  fix: did you mean 'fp16'"),
        ({"precision": "cpu8"}, "unknown precision 'cpu8'"),
        ({"workspace_gib": 0}, "--workspace-gib is 0"),
        ({"workspace_gib": float("nan")}, "--workspace-gib is nan"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        EngineSettings(**settings)


def test_bundles_without_the_graphs(machine: FakeMachine) -> None:
    with pytest.raises(UsageError, match=r"(?s)holds no encoder\.\S*onnx.*--precision fp32,fp16"):
        build_engine(DEMO_BUNDLE, EngineSettings())
    with pytest.raises(UsageError, match=r"(?s)holds no encoder\.int8\.onnx.*calibrate int8"):
        build_engine(DEMO_BUNDLE, EngineSettings(precision="int8"))


def test_footage_that_is_not_there(machine: FakeMachine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "read_parity_frames", parity.read_parity_frames)
    with pytest.raises(SourceError):
        built(bundle, verify=Path("nowhere.mp4"))
    assert not (bundle.path / "engines").exists()


@pytest.mark.parametrize("missing", ["tensorrt", "pycuda"])
def test_packages_that_are_missing(
    machine: FakeMachine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentFailure, match="cannot be imported"):
        built(bundle)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ({"devices": 0}, "lists no NVIDIA GPU"),
        ({"name": "Tesla P100", "capability": (6, 0)}, "Tesla P100 has compute capability 6.0, TensorRT 10 needs 7.0"),
    ],
)
def test_machines_that_do_not_do(
    machine: FakeMachine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, device: dict[str, Any], told: str
) -> None:
    install(monkeypatch, **device)
    with pytest.raises(EnvironmentFailure, match=told):
        built(bundle)
    assert not (bundle.path / "engines").exists()


def test_a_folder_that_cannot_be_written(machine: FakeMachine, bundle: Bundle) -> None:
    (bundle.path / "engines").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot write .*engines"):
        built(bundle)


def test_the_demo_clip_is_the_footage_by_default() -> None:
    assert EngineSettings().verify == DEMO_CLIP
    assert dataclasses.replace(EngineSettings(), force=True).force


def test_a_device_that_builds_needs_no_torch_and_no_onnx() -> None:
    code = (
        "import sys, stprompt_edge.export.engine\n"
        "print({'torch', 'onnx', 'tensorrt', 'pycuda', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
