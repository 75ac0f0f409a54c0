#!/usr/bin/env bash
# One command for any CUDA machine with torch: see benchmarks/gpu_check.py. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
exec timeout --kill-after=10 475 "${PYTHON:-python3}" -m benchmarks.gpu_check "$@"
