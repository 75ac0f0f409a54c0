"""What is tried in a process of its own, since native libraries may hang or crash.

Run as `python -m stprompt_edge.doctor.trials` with one of:

    import MODULE...     imports each; prints {module: reason or ""}
    providers            prints the execution providers that ONNX Runtime lists
    provider NAME        computes a known answer with that provider alone
    pycuda               initialises the driver; prints its version and devices
    cuda-graph           records a copy as a CUDA graph and launches it
    gstreamer            starts GStreamer; prints its version and the hardware decoders that it has

Prints one line of JSON and exits with 0, or fails with the reason as the last line of standard error.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from stprompt_edge.errors import StpromptEdgeError

CPU_PROVIDER = "CPUExecutionProvider"

# y = x @ [[1, 0], [0, 1], [2, -1]] + [10, 20] for x [1, 3] float32. Made with onnx.helper: a MatMul and an Add node, w
# and b initializers, opset 13 and IR version 7, which old runtimes read. In the code rather than a file: its 151 bytes
# cannot go missing. tests/test_doctor.py opens it with onnx and checks its numbers.
PROBE_ONNX = base64.b64decode(
    "CAc6jAEKEQoBeAoBdxIBbSIGTWF0TXVsCg4KAW0KAWISAXkiA0FkZBIFcHJvYmUqIwgDCAIQAUIBd0oYAACAPwAAAAAAAAAAAACA"
    "PwAAAEAAAIC/KhEIAhABQgFiSggAACBBAACgQVoTCgF4Eg4KDAgBEggKAggBCgIIA2ITCgF5Eg4KDAgBEggKAggBCgIIAkIECgAQ"
    "DQ=="
)
PROBE_INPUT = ((1.0, 2.0, 3.0),)
PROBE_OUTPUT = ((17.0, 19.0),)  # small integers: exact in TF32 and fp16 too
HARDWARE_DECODERS = ("nvv4l2decoder", "nvh264dec", "vah264dec", "vaapih264dec", "v4l2h264dec")  # GStreamer elements


def try_imports(modules: Sequence[str]) -> dict[str, str]:
    """Import each module; the reason of those that fail, empty for those that work."""
    reasons = {}
    for module in modules:
        try:
            importlib.import_module(module)
            reasons[module] = ""
        except Exception as exc:  # a broken native package raises anything: the reason is the result
            reasons[module] = f"{type(exc).__name__}: {exc}"
    return reasons


def try_provider(name: str) -> dict[str, Any]:
    """Compute the probe with one execution provider and nothing to fall back on.

    Raises:
        RuntimeError: another provider ran it, or the numbers are wrong.
        Exception: whatever ONNX Runtime raises when the provider cannot be created.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if name != CPU_PROVIDER:
        # Without this a provider that takes no node, or fails to load, hides behind the CPU's right answer.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(PROBE_ONNX, options, providers=[name], enable_fallback=0)
    ran = session.get_providers()[0]
    if ran != name:
        raise RuntimeError(f"asked for {name}, ONNX Runtime took {ran}")
    output = session.run(None, {"x": np.asarray(PROBE_INPUT, np.float32)})[0]
    if not np.allclose(output, PROBE_OUTPUT, atol=1e-3):
        raise RuntimeError(f"wrong numbers: got {output.tolist()}, expected {PROBE_OUTPUT}")
    return {"version": onnxruntime.__version__}


def list_providers() -> list[str]:
    """The execution providers that ONNX Runtime lists, best first by its own order."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def try_pycuda() -> dict[str, Any]:
    """Initialise the CUDA driver through PyCUDA: driver version and device names."""
    import pycuda.driver as cuda

    cuda.init()
    devices = [cuda.Device(i).name() for i in range(cuda.Device.count())]
    return {"driver": cuda.get_driver_version(), "devices": devices}


def try_cuda_graph() -> dict[str, Any]:
    """Record a copy to the device and back as a CUDA graph, and launch it.

    Raises:
        EnvironmentFailure: it cannot be recorded or launched.
        RuntimeError: it gave other numbers than went in.
    """
    import numpy as np

    from stprompt_edge.runtime.backends.cuda.engines.device import CudaSession
    from stprompt_edge.runtime.backends.cuda.graph import CudaGraph

    session = CudaSession()
    cuda, stream = session.cuda, session.stream
    with session.current("trying a CUDA graph"):
        there, back = (cuda.pagelocked_empty(4, np.float32) for _ in range(2))
        memory = cuda.mem_alloc(there.nbytes)

        def enqueue() -> None:
            cuda.memcpy_htod_async(memory, there, stream)
            cuda.memcpy_dtoh_async(back, memory, stream)

        graph = CudaGraph(stream.handle, enqueue)
        there[:] = range(4)
        graph.launch()
        stream.synchronize()
        graph.close()
        memory.free()
        if back.tolist() != [0, 1, 2, 3]:
            raise RuntimeError(f"wrong numbers: got {back.tolist()}")
    session.close()
    return {"device": session.device.name}


def try_gstreamer() -> dict[str, Any]:
    """Start GStreamer: its version, and which of the hardware decoders that we know of it has.

    Raises:
        EnvironmentFailure: PyGObject or GStreamer is missing.
    """
    from stprompt_edge.runtime.sources.gstreamer import import_gstreamer

    gst, _ = import_gstreamer()
    decoders = [name for name in HARDWARE_DECODERS if gst.ElementFactory.find(name)]
    return {"version": ".".join(str(n) for n in gst.version()[:3]), "decoders": decoders}


def _main(arguments: Sequence[str]) -> int:
    what, *rest = arguments
    if what == "import":
        result: Any = try_imports(rest)
    elif what == "providers":
        result = list_providers()
    elif what == "provider":
        result = try_provider(rest[0])
    elif what == "cuda-graph":
        result = try_cuda_graph()
    elif what == "gstreamer":
        result = try_gstreamer()
    else:
        result = try_pycuda()
    print(json.dumps(result), flush=True)
    return 0


def run(arguments: Sequence[str]) -> int:
    """The exit code; a failure's reason is the last line of standard error: the parent wants no traceback."""
    try:
        return _main(arguments)
    except StpromptEdgeError as exc:
        reason = exc.what  # its remedy is the probe's to say
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}"
    print(reason.replace("\n", " "), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
