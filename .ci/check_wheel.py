"""Refuses to publish what is not meant to be: `python .ci/check_wheel.py dist v0.1.0`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

MOST_BYTES = 10_000_000
NEEDED = (
    "stprompt_edge/py.typed",
    "stprompt_edge/assets/demo/clip.mp4",
    "stprompt_edge/assets/demo/bundle/bundle.json",
    "stprompt_edge/vocabularies/ucf-crime.toml",
    "stprompt_edge/runtime/backends/cuda/kernels/preprocess.cu",
)


def problems(wheel: Path, tag: str) -> list[str]:
    """What is wrong with a wheel: one line each, none if it may be published."""
    name, version = wheel.name.split("-")[:2]
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, the version {version}")
    if wheel.stat().st_size >= MOST_BYTES:
        found.append(f"{wheel.stat().st_size:,} bytes, at most {MOST_BYTES:,} are meant")
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    found += [f"{file} is missing" for file in NEEDED if file not in files]
    ours = (f"{name}/", f"{name}-{version}.dist-info/")
    found += [f"{file} does not belong into it" for file in sorted(files) if not file.startswith(ours)]
    found += [f"{file} does not belong into it" for file in sorted(files) if file.endswith("weights.safetensors")]
    return found


def main() -> None:
    """Check the one wheel of a folder against the tag."""
    folder, tag = sys.argv[1:]
    (wheel,) = Path(folder).glob("*.whl")
    found = problems(wheel, tag)
    print("\n".join([f"{wheel.name}: {line}" for line in found] or [f"{wheel.name} is good"]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
