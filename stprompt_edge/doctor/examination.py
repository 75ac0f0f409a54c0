"""Runs every probe and gathers what they found."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from stprompt_edge import __version__
from stprompt_edge.doctor import probes
from stprompt_edge.doctor.machine import Machine
from stprompt_edge.doctor.report import Check, Report

Probe = Callable[[Machine], tuple[Check, ...]]

PROBES: tuple[Probe, ...] = (
    probes.probe_system,
    probes.probe_packages,
    probes.probe_extras,
    probes.probe_cpu,
    probes.probe_gpu,
    probes.probe_providers,
    probes.probe_tensorrt,
    probes.probe_pycuda,
    probes.probe_cuda_graph,
    probes.probe_pyav,
    probes.probe_gstreamer,
    probes.probe_cameras,
)


def examine(*, timeout_s: float = 20.0, machine: Machine | None = None) -> Report:
    """Examine this machine. Never raises; takes at most about `timeout_s`, and one or two seconds where nothing hangs.

    Args:
        timeout_s: time limit of everything that runs in a child process, seconds.
        machine: what to look at, for tests.
    """
    started = time.monotonic()
    looked_at = machine or Machine(timeout_s=timeout_s)
    with ThreadPoolExecutor(max_workers=len(PROBES)) as pool:
        found = list(pool.map(lambda probe: _guarded(probe, looked_at), PROBES))
    checks = tuple(check for group in found for check in group)
    return Report(version=__version__, seconds=time.monotonic() - started, checks=checks)


def _guarded(probe: Probe, machine: Machine) -> tuple[Check, ...]:
    try:
        return probe(machine)
    except Exception as exc:  # a doctor that dies of one finding shows none: the only broad except outside trials
        name = probe.__name__.removeprefix("probe_")
        remedy = "this is a bug of ours: please report it with this line"
        return (Check(group="Doctor", name=name, status="failed", detail=f"probe broke: {exc!r}", remedy=remedy),)
