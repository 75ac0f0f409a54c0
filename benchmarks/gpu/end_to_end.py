"""A camera's sampled frame in host memory in, its anomaly score out; and a video's frames per second.

As the runtime does it where its launch ends with the encoder: the frame is packed into pinned memory; upload,
preprocess.cu, the encoder on the windows that the kernel has selected, and the way back of the embeddings are one
sequence (one CUDA graph where it can be recorded); the host aggregates and smooths (eq. 3-4); the heads are a
second, small trip. With TensorRT the runtime saves that trip (adapter.cu), which is not timed here. Heads have seeded
weights.

Suffixes: K selected windows, D width of the embedding.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.encoder import SEED, Inputs
from benchmarks.gpu.encoders import BoundEncoder
from benchmarks.gpu.kernel import DeviceFrame, KernelStream, Launcher
from benchmarks.gpu.measuring import Device, Run, Timing, attempt, measured
from benchmarks.gpu.preprocessing import Repeats, picture
from benchmarks.gpu.reasons import NotMeasured
from stprompt_edge.model.branches import anomaly_score
from stprompt_edge.model.stprompt import Heads
from stprompt_edge.runtime.backends.cuda.kernels.job import layout_of, pack_frame
from stprompt_edge.runtime.motion import aggregate, softmax
from stprompt_edge.runtime.temporal import StreamingKernel

CLASSES, SIGMA, TAU = 14, 1.0, 0.07  # UCF-Crime's 13 classes and `normal`; the paper's sigma and temperature
STRIDES = (16, 4)  # of UCF-Crime and of ShanghaiTech
STAGES = ("pack", "device", "host", "heads")


class WatchStep:
    """One camera, one size of frames.

    Args:
        device, launcher: where it runs.
        encoder: bound to what the kernel writes.
        size_wh: of the frames.
        graph: record the sequence.

    Raises:
        NotMeasured: it cannot be recorded, or the encoder cannot run here.
    """

    def __init__(
        self, device: Device, launcher: Launcher, encoder: BoundEncoder, size_wh: tuple[int, int], *, graph: bool
    ) -> None:
        width, height = size_wh
        self._device = device
        self._layout = layout_of(np.broadcast_to(np.uint8(0), (height, width, 3)))
        self._staged = host_buffer(self._layout.nbytes, torch.uint8, device)
        on_device = DeviceFrame(
            layout=self._layout, memory=torch.zeros(self._layout.nbytes, dtype=torch.uint8, device=device.torch)
        )
        stream = KernelStream(launcher, device)
        launch = stream.prepare(on_device)
        coarse = torch.zeros(1, 0, dtype=torch.int64, device=device.torch)
        call = encoder.bind(Inputs(image=stream.image, fine=stream.fine, coarse=coarse))
        found = call()
        self._stream, width_D = stream, found.frame.shape[-1]
        self._rows = host_buffer((1 + stream.fine.shape[1]) * width_D, torch.float32, device).view(-1, width_D)
        self._selection = host_buffer(len(stream.result), torch.uint8, device)

        def sequence() -> object:
            launcher.copy(on_device.memory, self._staged)
            stream.launch([launch])
            embedded = call()
            frame, fine = (part.float().contiguous() for part in (embedded.frame, embedded.fine))
            launcher.copy(self._rows[:1], frame)
            launcher.copy(self._rows[1:], fine[0])
            launcher.copy(self._selection, stream.result)
            return frame, fine  # kept until the copies are done

        if graph and not encoder.records:
            raise NotMeasured("it records its launches itself, where it does")
        self._sequence: Run = device.graph(sequence) if graph else sequence
        self._heads = _DeviceHeads(device, launcher, width_D)
        self._kernel = StreamingKernel(width_D, SIGMA)
        self.seconds: dict[str, list[float]] = {name: [] for name in STAGES}

    def __call__(self, frame: NDArray[np.uint8]) -> float:
        """[H, W, 3] BGR in host memory -> score."""
        marks = [time.perf_counter()]

        def mark() -> None:
            marks.append(time.perf_counter())

        pack_frame(frame, self._layout, self._staged.numpy())
        mark()
        kept = self._sequence()
        self._device.synchronize()
        mark()
        del kept
        rows = self._rows.numpy()
        attention = softmax(self._stream.read(self._selection)["fine_motion"])
        context = self._kernel.push(rows[0] + aggregate(rows[1:], attention))
        assert context is not None  # no lookahead
        mark()
        score = self._heads(context, rows[0])
        mark()
        for name, start, end in zip(STAGES, marks, marks[1:], strict=False):
            self.seconds[name].append(end - start)
        return score


class _DeviceHeads:
    """Both branches on the device, one row; its launches are recorded where they can be."""

    def __init__(self, device: Device, launcher: Launcher, width: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            heads, prompts = Heads(width).eval().requires_grad_(False), torch.randn(CLASSES, width)
        heads, prompts = heads.to(device.torch), prompts.to(device.torch)
        self._device, self._launcher = device, launcher
        self._staged = host_buffer(2 * width, torch.float32, device).view(2, width)
        self._score = host_buffer(1, torch.float32, device)
        there = torch.zeros(2, width, device=device.torch)

        def sequence() -> object:
            launcher.copy(there, self._staged)
            with torch.no_grad():
                logits = heads(there[:1], there[1:], prompts)
                score = anomaly_score(logits.anomaly_logit, logits.similarity, TAU, "a")
            launcher.copy(self._score, score)
            return score

        recorded = attempt(lambda: device.graph(sequence))
        self._sequence: Run = recorded if callable(recorded) else sequence

    def __call__(self, context_D: NDArray[np.float32], clip_D: NDArray[np.float32]) -> float:
        staged = self._staged.numpy()
        staged[0], staged[1] = context_D, clip_D
        kept = self._sequence()
        self._device.synchronize()
        del kept
        return float(self._score[0])


def host_buffer(count: int, kind: torch.dtype, device: Device) -> torch.Tensor:
    """Zeros on the host, pinned where there is a GPU."""
    return torch.zeros(count, dtype=kind, pin_memory=device.kind == "cuda")


def time_watch_steps(
    device: Device,
    launcher: Launcher,
    encoders: Sequence[BoundEncoder],
    sizes: Sequence[tuple[int, int]],
    how: Repeats,
) -> dict[str, Any]:
    """Batch 1, host frame in, score out: size -> engine -> plain and graph, by the host's clock."""
    return {
        f"{width}x{height}": {
            encoder.name: {
                way: attempt(
                    functools.partial(_time_one, device, launcher, encoder, (width, height), how, graph=way == "graph")
                )
                for way in ("plain", "graph")
            }
            for encoder in encoders
        }
        for width, height in sizes
    }


def _time_one(
    device: Device, launcher: Launcher, encoder: BoundEncoder, size_wh: tuple[int, int], how: Repeats, *, graph: bool
) -> dict[str, Any]:
    step = WatchStep(device, launcher, encoder, size_wh, graph=graph)
    frames = [picture(*size_wh, seed) for seed in range(3)]
    milliseconds, scores = [], []
    for turn in range(how.warm_up + how.repeats):
        started = time.perf_counter()
        scores.append(step(frames[turn % len(frames)]))
        milliseconds.append((time.perf_counter() - started) * 1e3)
    if not all(0 <= score <= 1 for score in scores):
        raise NotMeasured(f"scores are not in 0..1: {scores[-1]}")
    timing = Timing.of(milliseconds[how.warm_up :])
    stages = {
        name: round(float(np.median(values[how.warm_up :])) * 1e3, 4) for name, values in step.seconds.items()
    }  # fmt: skip
    return {
        "p50_ms": round(timing.p50_us / 1e3, 4),
        "p95_ms": round(timing.p95_us / 1e3, 4),
        "repeats": how.repeats,
        "stages_p50_ms": stages,
        "score": round(scores[-1], 6),
    }


def best_watch_step(by_engine: dict[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """Engine, way and figures of the lowest median of one frame size; None if none was timed."""
    timed = [
        (figures["p50_ms"], name, way, figures)
        for name, ways in by_engine.items()
        for way, figures in ways.items()
        if measured(figures)
    ]
    return min(timed, key=lambda entry: entry[:3])[1:] if timed else None


def time_video(
    device: Device, launcher: Launcher, encoder: BoundEncoder, video: Path, *, graph: bool, limit: int | None = None
) -> dict[str, Any]:
    """Camera frames per second of a file, decoded by OpenCV on the host, at the strides that data sets are sampled at.

    Raises:
        NotMeasured: OpenCV cannot read it here.
    """
    size = next(_decoded(video, 1, limit))[1].shape
    figures: dict[str, Any] = {"video": video.name, "engine": encoder.name, "graph": graph, "decoder": "OpenCV"}
    figures["size"] = f"{size[1]}x{size[0]}"
    figures["decoding_alone"] = _rate(_decoded(video, 1, limit), lambda image: None)
    step = WatchStep(device, launcher, encoder, (size[1], size[0]), graph=graph)
    step(np.zeros(size, np.uint8))
    for stride in STRIDES:
        figures[f"stride_{stride}"] = _rate(_decoded(video, stride, limit), step)
    return figures


def _rate(frames: Iterator[tuple[int, NDArray[np.uint8] | None]], use: Callable[[NDArray[np.uint8]], object]) -> Any:
    started, camera, sampled = time.perf_counter(), 0, 0
    for index, image in frames:
        camera = index + 1
        if image is not None:
            sampled += 1
            use(image)
    seconds = time.perf_counter() - started
    rounded = {"seconds": round(seconds, 3), "camera_frames_per_s": round(camera / seconds, 1)}
    return {"camera_frames": camera, "sampled_frames": sampled, **rounded}


def _decoded(video: Path, stride: int, limit: int | None) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Index of every frame, and each `stride`-th as [H, W, 3] BGR."""
    reader = cv2.VideoCapture(str(video))
    try:
        index = 0
        while (limit is None or index < limit) and reader.grab():
            image = None
            if index % stride == 0:
                image = reader.retrieve()[1]
            yield index, image  # type: ignore[misc]
            index += 1
    finally:
        reader.release()
    if index == 0:
        raise NotMeasured(f"OpenCV cannot read {video.name} here")


def real_images(video: Path, count: int) -> NDArray[np.float32] | None:
    """[count, 3, 224, 224] of frames spread over a video, preprocessed; None if OpenCV cannot read it."""
    from stprompt_edge.preprocess import Preprocessing, Preprocessor

    frames = []
    try:
        for _, image in _decoded(video, 40, 40 * count):
            if image is not None:
                frames.append(image)
    except NotMeasured:
        return None
    preprocess = Preprocessor(Preprocessing())
    return np.stack([preprocess(frame).image for frame in frames])
