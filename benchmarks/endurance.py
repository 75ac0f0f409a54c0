"""Does the step get slower, or the process larger, over 30 minutes of video? ViT-B/16 cpu8, stride 16 at 25 fps."""

from __future__ import annotations

import os

from benchmarks.common import console, footage, reference_bundle, write_result
from stprompt_edge.bench import read_sampled_frames
from stprompt_edge.bench.latency import describe_machine
from stprompt_edge.cli.terminal import live_steps
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.timing import StageTimer, peak_rss_mib

MINUTES = 30
FPS = 25
STRIDE = 16
PART = 0.1  # the first and the last tenth are compared


def rss_mib() -> float:
    """Resident size now, MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure and write endurance.json."""
    bundle = reference_bundle()
    video = footage()[-1]
    frames = read_sampled_frames(str(video), STRIDE, 60)
    steps = MINUTES * 60 * FPS // STRIDE
    part = int(steps * PART)
    timer, memory = StageTimer(), {}
    with open_backend("onnx", bundle).backend as backend, live_steps(console) as progress:
        observer = Observer(bundle, backend, localize="never")
        for step in range(steps):
            image = frames[step % len(frames)].image_bgr
            frame = CameraFrame(index=step * STRIDE, seconds=step * STRIDE / FPS, image_bgr=image)
            with timer.measure("first" if step < part else "last" if step >= steps - part else "middle"):
                observer.push(frame)
            if step in (part, steps - 1):
                memory["after the first tenth" if step == part else "at the end"] = round(rss_mib(), 1)
            progress(f"step {step} of {steps}", step / steps)
    first, last = (timer.summary()[name] for name in ("first", "last"))
    console.print(f"first tenth {first.p50_ms:.1f} ms, last tenth {last.p50_ms:.1f} ms, memory {memory}")
    write_result(
        "endurance",
        {
            "model": bundle.manifest.clip.model,
            "minutes": MINUTES,
            "steps": steps,
            "first_tenth": first.__dict__,
            "last_tenth": last.__dict__,
            "last_over_first": round(last.p50_ms / first.p50_ms, 3),
            "rss_mib": memory,
            "peak_rss_mib": round(peak_rss_mib(), 1),
            "machine": describe_machine(),
        },
    )


if __name__ == "__main__":
    main()
