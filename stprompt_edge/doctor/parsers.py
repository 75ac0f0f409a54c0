"""Pure readers of what the system prints. Text that makes no sense gives an empty result, never an exception."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The instructions that decide how fast int8 matrix products are, fastest first: (kernel's name, name shown, meaning).
INT8_FEATURES = (
    ("amx_int8", "AMX int8", "int8 matrix tiles in hardware: int8 is by far the fastest choice"),
    ("avx512_vnni", "AVX-512 VNNI", "int8 dot products in hardware: int8 is the fastest choice"),
    ("avx_vnni", "AVX-VNNI", "int8 dot products in hardware: int8 is the fastest choice"),
    ("i8mm", "i8mm", "int8 matrix products in hardware: int8 is the fastest choice"),
    ("asimddp", "dotprod", "int8 dot products in hardware: int8 is the fastest choice"),
    (
        "avx2",
        "AVX2",
        "int8 runs without dot-product instructions: it gains less; cpu8's 7-bit weights keep its sums exact",
    ),
    ("asimd", "NEON", "int8 runs without dot-product instructions: it gains little; measure before choosing it"),
    ("neon", "NEON", "int8 runs without dot-product instructions: it gains little; measure before choosing it"),
)


@dataclass(frozen=True, kw_only=True)
class CpuInfo:
    """From /proc/cpuinfo."""

    model: str  # empty when the kernel does not say (common on ARM)
    flags: frozenset[str]

    @property
    def int8_features(self) -> tuple[str, ...]:
        """Names shown of the features present, fastest first."""
        return tuple(dict.fromkeys(shown for flag, shown, _ in INT8_FEATURES if flag in self.flags))

    @property
    def int8_meaning(self) -> str:
        """What the best feature present means for int8."""
        known = (meaning for flag, _, meaning in INT8_FEATURES if flag in self.flags)
        return next(known, "no vector instructions that help int8 are known of this CPU: measure before choosing it")


@dataclass(frozen=True, kw_only=True)
class GpuInfo:
    """One line of nvidia-smi. Fields it does not know are empty."""

    name: str
    driver: str
    memory: str  # with its unit, as printed
    compute_capability: str


def parse_cpu_flags(text: str) -> CpuInfo:
    """Model and feature flags from /proc/cpuinfo, x86 (`flags`) or ARM (`Features`); the first of each key counts."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            values.setdefault(key.strip().lower(), value.strip())
    model = values.get("model name") or values.get("hardware") or ""
    flags = values.get("flags") or values.get("features") or ""
    return CpuInfo(model=model, flags=frozenset(flags.split()))


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo as bytes per key."""
    found = re.findall(r"^(\w+):\s+(\d{1,18}) kB$", text, flags=re.MULTILINE | re.ASCII)
    return {key: int(kib) * 1024 for key, kib in found}


def parse_cpu_quota(text: str) -> float | None:
    """Cores that a container may use, from cgroup's cpu.max ("QUOTA PERIOD" in microseconds); None without a limit."""
    match = re.fullmatch(r"\s*(\d{1,18})\s+(\d{1,18})\s*", text, flags=re.ASCII)
    if not match or int(match[2]) == 0:
        return None
    return int(match[1]) / int(match[2])


def parse_nvidia_smi(text: str) -> tuple[GpuInfo, ...]:
    """The GPUs of `nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader`."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4 or not fields[0] or "error" in fields[0].lower():
            continue
        known = ["" if f.startswith("[") or f == "N/A" else f for f in fields]  # "[N/A]", "[Not Supported]"
        gpus.append(GpuInfo(name=fields[0], driver=known[1], memory=known[2], compute_capability=known[3]))
    return tuple(gpus)


def parse_l4t(text: str) -> str:
    """Version of NVIDIA's Jetson Linux from /etc/nv_tegra_release, e.g. "36.4.0"; empty when it is not there."""
    match = re.search(r"R(\d{1,3})\s*\(release\),\s*REVISION:\s*([\d.]{1,12})", text, flags=re.ASCII)
    return f"{match[1]}.{match[2]}" if match else ""


def parse_failure(text: str) -> str:
    """The reason in what a failing program printed, in at most 200 characters; empty when it printed nothing.

    The last line of a Python traceback, else the first line that tells of a failure: what follows it is consequence.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    library = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object", plain)
    if library:
        return f"{library[1]} is not found"
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|exception", line, flags=re.IGNORECASE)]
    if "Traceback (most recent call last)" in plain or not telling:
        telling = lines[-1:] or [""]
    if "fallback to CPU EP has been explicitly disabled" in telling[0]:
        return "it took no part of the graph and left everything to the CPU"
    reason = re.sub(r"^[\d-]+ [\d:.]+ \[[A-Z]:[^\]]*\] ", "", telling[0])  # ONNX Runtime's stamp, level and place
    return reason if len(reason) <= 200 else f"{reason[:197]}..."
