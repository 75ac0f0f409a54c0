"""One check of a CUDA machine: does the kernel compute its definition, do the engines agree, how fast is all of it?

    benchmarks/gpu_check.sh                    # everything; at most eight minutes
    benchmarks/gpu_check.sh --quick            # batch 1 and 1080p only
    benchmarks/gpu_check.sh --device cpu       # the flow without a GPU, tiny; the figures mean nothing

Needs torch, NumPy and OpenCV, and no network; installs nothing. What else is missing is named with what it takes with
it. Writes benchmarks/results/gpu-<name>.json after every section, so that what was measured is kept whatever comes.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import checks, encoders, end_to_end, preprocessing, report
from benchmarks.gpu.ceilings import measure_ceilings
from benchmarks.gpu.encoder import LOCATE, TINY, VIT_B_16, WATCH, VitSize, build_encoder
from benchmarks.gpu.kernel import CudaLauncher, HostLauncher, Launcher
from benchmarks.gpu.measuring import Budget, CpuDevice, CudaDevice, Device, attempt, measured
from benchmarks.gpu.preprocessing import Repeats
from benchmarks.gpu.reasons import NotMeasured
from benchmarks.gpu.steps import Steps, check_parity
from benchmarks.gpu.targets import targets
from stprompt_edge.assets import DEMO_CLIP

RESULTS = Path(__file__).parent / "results"
MANY, MANY_STEPS = Repeats(repeats=50, warm_up=10), Repeats(repeats=200, warm_up=20)
RESERVE_S = 45.0  # of the time, for what comes after torch.compile


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and how often."""

    mode: str
    limit_s: float
    size: VitSize
    batches: tuple[int, ...]
    frames: tuple[tuple[int, int], ...]  # width and height
    kernel_sizes: tuple[tuple[int, int], ...] = tuple(preprocessing.CHECKED)
    how: Repeats = MANY
    latency: Repeats = MANY_STEPS
    copy_bytes: int = 1 << 30
    product_side: int = 8192
    parity_frames: int = 8
    video_frames: int | None = None
    autotune: bool = True
    compile_backend: str = "inductor"


FULL = Settings(
    mode="full", limit_s=440, size=VIT_B_16, batches=(1, 8, 32), frames=((640, 360), (1920, 1080), (3840, 2160))
)
QUICK = Settings(
    mode="quick", limit_s=200, size=VIT_B_16, batches=(1,), frames=((1920, 1080),), how=Repeats(repeats=20, warm_up=5),
    latency=Repeats(repeats=50, warm_up=10), parity_frames=1, autotune=False,
)  # fmt: skip
DRY = Settings(
    mode="dry run", limit_s=3600, size=TINY, batches=(1, 2), frames=((320, 240),), kernel_sizes=((7, 5), (320, 240)),
    how=Repeats(repeats=2, warm_up=1), latency=Repeats(repeats=3, warm_up=1), copy_bytes=1 << 16, product_side=32,
    parity_frames=2, video_frames=17, autotune=False, compile_backend="eager",
)  # fmt: skip


class Check:
    """All sections, in order; the result grows with each.

    Args:
        settings: what is measured.
        device: where.
        folder: for what is built on the way.
        save: told the result after every section.
    """

    def __init__(
        self, settings: Settings, device: Device, folder: Path, save: Callable[[dict[str, Any]], None]
    ) -> None:
        self._settings, self._device, self._folder, self._save = settings, device, folder, save
        self._budget = Budget(settings.limit_s)
        self._encoder, what = build_encoder(settings.size)
        self._launcher: Launcher | None = None
        self._bound: list[encoders.BoundEncoder] = []
        self.result: dict[str, Any] = {
            "schema": report.SCHEMA,
            "measured": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "complete": False,
            "mode": settings.mode,
            "device": {"kind": device.kind, "name": device.name, "l2_bytes": device.l2_bytes},
            "machine": checks.describe_machine(),
            "encoder": {"what": what, "width": settings.size.width, "layers": settings.size.layers},
            "targets": [],
            "seconds": {},
        }

    def run(self) -> dict[str, Any]:
        """Every section; none takes another with it."""
        sections: dict[str, Callable[[], Any]] = {
            "build": self._build,
            "kernel_check": lambda: preprocessing.check_kernel(
                self._need_launcher(), self._device, self._settings.kernel_sizes
            ),
            "tests": self._tests,
            "sanitizer": self._sanitizer,
            "ceilings": self._ceilings,
            "preprocessing": self._preprocessing,
            "parity": self._parity,
            "steps": self._steps,
            "watch_end_to_end": self._watch_end_to_end,
            "video": self._video,
            "autotune": self._autotune,
        }
        for name, section in sections.items():
            started = time.monotonic()
            print(f"{name} ...", flush=True)
            self.result[name] = attempt(section)
            self.result["seconds"][name] = round(time.monotonic() - started, 1)
            self.result["targets"] = targets(self.result)
            self._save(self.result)
        self.result["complete"] = True
        self._save(self.result)
        return self.result

    def _build(self) -> dict[str, Any]:
        if isinstance(self._device, CudaDevice):
            cubin = self._folder / "preprocess.cubin"
            built = checks.build_kernel(self._device.capability, cubin)
            self._launcher = CudaLauncher(cubin.read_bytes(), self._device)
            return built
        self._launcher = HostLauncher(self._folder)
        return {"compiler": "g++", "passed_over": [], "architecture": "host"}

    def _need_launcher(self) -> Launcher:
        if self._launcher is None:
            raise NotMeasured("the kernel was not built")
        return self._launcher

    def _tests(self) -> dict[str, Any]:
        if self._settings.mode != "full":
            raise NotMeasured(f"left out of a {self._settings.mode}")
        return checks.run_tests(self._budget)

    def _sanitizer(self) -> dict[str, Any]:
        if self._settings.mode != "full":
            raise NotMeasured(f"left out of a {self._settings.mode}")
        self._need_launcher()
        return checks.run_sanitizer(self._folder / "preprocess.cubin", self._budget)

    def _ceilings(self) -> dict[str, Any]:
        s = self._settings
        return measure_ceilings(
            self._device, s.how, copy_bytes=s.copy_bytes, product_side=s.product_side, size=s.size, batch=s.batches[-1]
        )

    def _ceiling(self, name: str, figure: str) -> float:
        part = (self.result.get("ceilings") or {}).get(name)
        return float(part[figure]) if measured(part) and part else 0.0

    def _preprocessing(self) -> dict[str, Any]:
        bandwidth = self._ceiling("copy", "gb_s")
        if not bandwidth:
            raise NotMeasured("there is no copy bandwidth to compare with")
        return preprocessing.time_preprocessing(
            self._need_launcher(), self._device, self._settings.frames, self._settings.how, bandwidth
        )

    def _parity(self) -> dict[str, Any]:
        """Opens the engines, too; what cannot be opened is left for the table of steps to name."""
        self._missing: dict[str, str] = {}
        single = encoders.TorchEncoder(self._encoder, self._device, torch.float32)
        self._bound = [encoders.TorchEncoder(self._encoder, self._device)]
        self._open("ONNX Runtime CUDA fp16", functools.partial(self._onnx, "fp16", cuda_graph=False))
        self._open("ONNX Runtime CUDA fp16 (its CUDA graph)", functools.partial(self._onnx, "fp16", cuda_graph=True))
        self._open("TensorRT fp16", self._tensorrt)
        images = end_to_end.real_images(DEMO_CLIP, self._settings.parity_frames)
        source = DEMO_CLIP.name if images is not None else "seeded noise: OpenCV cannot read the demo clip here"
        frames = torch.randn(self._settings.parity_frames, 3, 224, 224) if images is None else torch.from_numpy(images)
        compared = [single, *self._bound]
        full = attempt(functools.partial(self._onnx, "fp32", cuda_graph=False))
        compared += [full] if not isinstance(full, dict) else []
        found = {"source": source, **check_parity(self._encoder, compared, self._device, frames)}
        absent = {name: {"not_measured": reason} for name, reason in self._missing.items()}
        found["engines"] |= absent | ({"ONNX Runtime CUDA fp32": full} if isinstance(full, dict) else {})
        return found

    def _open(self, name: str, make: Callable[[], encoders.BoundEncoder]) -> None:
        opened = attempt(make)
        if isinstance(opened, dict):
            self._missing[name] = opened["not_measured"]
        else:
            self._bound.append(opened)

    @functools.cached_property
    def _graphs(self) -> dict[str, Path]:
        self._budget.need(60 + RESERVE_S, "exporting ONNX")
        return encoders.export_graphs(self._encoder, self._folder)

    def _onnx(self, precision: str, *, cuda_graph: bool) -> encoders.BoundEncoder:
        encoders.import_onnxruntime_cuda()
        return encoders.OnnxCudaEncoder(
            self._graphs[precision], self._device, cuda_graph=cuda_graph, precision=precision
        )  # fmt: skip

    def _tensorrt(self) -> encoders.BoundEncoder:
        import tensorrt  # noqa: F401  # before an export that nobody needs

        width = self._settings.size.embedding
        return encoders.TensorRTEncoder(self._graphs["fp16"], self._device, self._settings.batches, width, self._budget)

    def _steps(self) -> dict[str, Any]:
        s = self._settings
        steps = Steps(self._device, s.size, s.batches, s.how, self._ceiling("product", "tflops"))
        everything = [(step, batch) for step in (WATCH, LOCATE) for batch in s.batches]
        for name, reason in self._missing.items():
            steps.missing(name, reason)
        self.result["steps"] = steps.table
        reserved = Budget(self._budget.left_s - RESERVE_S)
        self._bound.append(
            encoders.CompiledEncoder(self._encoder, self._device, reserved, mode="default", backend=s.compile_backend)
        )
        # torch.compile takes a minute for each set of shapes: those that targets speak of come first
        order = sorted(everything, key=lambda entry: (entry[0] is LOCATE, entry[1] not in (1, s.batches[-1])))
        for encoder in self._bound:
            steps.add(encoder, order)
            self._save(self.result)
        self._table = steps
        return steps.table

    def _autotune(self) -> dict[str, Any]:
        """torch.compile at its best, in what time is left; its figures go into the table of steps."""
        if not self._settings.autotune:
            raise NotMeasured(f"left out of a {self._settings.mode}")
        mode = "max-autotune-no-cudagraphs"
        encoder = encoders.CompiledEncoder(self._encoder, self._device, self._budget, mode=mode)
        self._table.add(encoder, [(WATCH, self._settings.batches[0]), (WATCH, self._settings.batches[-1])])
        return {"mode": mode}

    def _watch_end_to_end(self) -> dict[str, Any]:
        return end_to_end.time_watch_steps(
            self._device, self._need_launcher(), self._bound, self._settings.frames, self._settings.latency
        )

    def _video(self) -> dict[str, Any]:
        timed = self.result["watch_end_to_end"]
        best = end_to_end.best_watch_step(next(iter(timed.values()))) if measured(timed) else None
        if best is None:
            raise NotMeasured("no watch step ran")
        name, way, _ = best
        encoder = next(encoder for encoder in self._bound if encoder.name == name)
        return end_to_end.time_video(
            self._device, self._need_launcher(), encoder, DEMO_CLIP,
            graph=way == "graph", limit=self._settings.video_frames,
        )  # fmt: skip


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu_check.sh", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run in seconds")
    parser.add_argument("--quick", action="store_true", help="batch 1 and 1080p only, no tests, no sanitizer")
    parser.add_argument("--out", type=Path, help="file to write instead of benchmarks/results/gpu-<name>.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the check; 0 if it came to its end, whatever the figures, 5 where there is no GPU."""
    options = parse(arguments)
    try:
        device: Device = CudaDevice() if options.device == "cuda" else CpuDevice()
    except NotMeasured as exc:
        print(f"error: {exc}\n  fix: run it on a machine with one, or dry: --device cpu", file=sys.stderr)
        return 5
    settings = DRY if options.device == "cpu" else QUICK if options.quick else FULL
    path = options.out or (RESULTS / report.file_name(device.name) if options.device == "cuda" else None)
    with tempfile.TemporaryDirectory() as folder:
        save = functools.partial(report.write_result, path=path) if path else report.check_result
        result = Check(settings, device, Path(folder), save).run()
    print("\n".join(["", *report.lines(result), f"wrote {path}" if path else "a dry run: nothing was written"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
