"""`tensorrt` without TensorRT: a plan is the ONNX graph with its profiles, and running it is ONNX Runtime's work.

So a whole build and every copy, shape and address of the runtime are exercised; what is not is TensorRT's own compiler.
Its names and arguments are compared with NVIDIA's bindings in tests/vendor_api.
"""

from __future__ import annotations

import enum
import functools
import json
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.fakes.pycuda_driver import FakeDriver
from tests.fakes.streams import Work

TYPES = {TensorProto.FLOAT: "FLOAT", TensorProto.INT64: "INT64"}


def members(name: str, *names: str) -> Any:
    return enum.IntEnum(name, {member: value for value, member in enumerate(names)})  # type: ignore[misc]


class FakeTensorRT(ModuleType):
    """The module; `behaviour` of the next build can be changed by a test.

    Args:
        version: of TensorRT.
        driver: whose memory engines read and write.
    """

    def __init__(self, version: str, driver: FakeDriver) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.driver = driver
        self.started: str | None = None  # logged instead of making a builder
        self.build_error: str | None = None  # logged instead of building
        self.wrong = False  # engines compute something else
        self.failing: set[str] = set()  # methods that return what TensorRT returns when it fails
        self.calls: list[tuple[str, Any]] = []
        flags = ("STRONGLY_TYPED",) if version.startswith("11") else ("EXPLICIT_BATCH", "STRONGLY_TYPED")
        self.NetworkDefinitionCreationFlag = members("NetworkDefinitionCreationFlag", *flags)
        self.TensorIOMode = members("TensorIOMode", "NONE", "INPUT", "OUTPUT")
        self.MemoryPoolType = members("MemoryPoolType", "WORKSPACE")
        self.BuilderFlag = members("BuilderFlag", "TF32")
        self.DataType = members("DataType", "FLOAT", "INT64")
        self.ErrorCode = members("ErrorCode", "SUCCESS", "MODEL_DESERIALIZE_FAILED", "UNSUPPORTED_NODE")
        self.ExecutionContextAllocationStrategy = members("ExecutionContextAllocationStrategy", "USER_MANAGED")
        self.ILogger, self.IProgressMonitor = ILogger, IProgressMonitor
        trt = self

        class Bound:
            def __init__(self, *arguments: Any) -> None:
                super().__init__(trt, *arguments)

        self.Builder: Any = type("Builder", (Bound, FakeBuilder), {"__new__": FakeBuilder.__new__, "trt": trt})
        self.OnnxParser: Any = type("OnnxParser", (Bound, FakeParser), {})
        self.Runtime: Any = type("Runtime", (Bound, FakeRuntime), {})

    def nptype(self, trt_type: Any) -> Any:
        return {self.DataType.FLOAT: np.float32, self.DataType.INT64: np.int64}[trt_type]

    def result(self, name: str, good: Any, bad: Any) -> Any:
        return bad if name in self.failing else good


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        pass


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class FakeBuilder:
    trt: FakeTensorRT

    def __new__(cls, logger: Any) -> FakeBuilder:
        if cls.trt.started is not None:
            logger.log(ILogger.ERROR, cls.trt.started)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return super().__new__(cls)

    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> FakeNetwork | None:
        assert flags == 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return self.trt.result("create_network", FakeNetwork(), None)

    def create_builder_config(self) -> FakeConfig:
        return FakeConfig(self.trt)

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> bytes | None:
        model = onnx.load_from_string(network.content)
        for profile in config.profiles:
            assert set(profile) == {tensor.name for tensor in model.graph.input}
        self.trt.calls.append(("build", config))
        if not run_phases(config.progress_monitor):
            return None
        if self.trt.build_error is not None:
            self._logger.log(ILogger.ERROR, self.trt.build_error)
            return None
        config.cache.content += b"+"
        header = json.dumps({"version": self.trt.__version__, "profiles": config.profiles}).encode()
        return b"PLAN" + len(header).to_bytes(4, "little") + header + network.content


def run_phases(monitor: Any) -> bool:
    """As TensorRT: nested, the inner one repeated; False when the monitor asked to stop."""
    monitor.phase_start("Building Engine", None, 2)
    for step in range(2):
        monitor.phase_start("Tactic selection", "Building Engine", 4)
        for inner in range(4):
            if not monitor.step_complete("Tactic selection", inner):
                return False
        monitor.phase_finish("Tactic selection")
        if not monitor.step_complete("Building Engine", step):
            return False
    monitor.phase_finish("Building Engine")
    return True


class FakeNetwork:
    content = b""


class FakeConfig:
    progress_monitor: Any = None

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.profiles: list[Any] = []
        self.pools: dict[Any, int] = {}
        self.cleared: list[Any] = []
        self.cache = FakeTimingCache(b"")

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        assert type(pool_size) is int
        self.pools[pool] = pool_size

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        self.profiles.append(profile.shapes)
        return self._trt.result("add_optimization_profile", len(self.profiles) - 1, -1)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> FakeTimingCache | None:
        return FakeTimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: FakeTimingCache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        if cache.content.startswith(b"other device"):
            return False
        self.cache = cache
        return self._trt.result("set_timing_cache", True, False)

    def get_timing_cache(self) -> FakeTimingCache | None:
        return self._trt.result("get_timing_cache", self.cache, None)


class FakeTimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        for low, usual, high in zip(min, opt, max, strict=True):
            if not 0 <= low <= usual <= high:
                raise ValueError("inconsistent")
        self.shapes[input] = [min, opt, max]


class FakeParser:
    def __init__(self, trt: FakeTensorRT, network: FakeNetwork, logger: Any) -> None:
        self._trt, self._network = trt, network
        self._errors: list[FakeParserError] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            graph = onnx.load_from_string(model).graph
        except Exception:
            self._errors.append(
                FakeParserError(self._trt.ErrorCode.MODEL_DESERIALIZE_FAILED, "Failed to parse", None, -1)
            )
            return False
        for index, node in enumerate(graph.node):
            if node.op_type == "NonMaxSuppression":
                code = self._trt.ErrorCode.UNSUPPORTED_NODE
                self._errors.append(FakeParserError(code, "Assertion failed: it has no kernel", node, index))
        self._network.content = model
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> FakeParserError:
        return self._errors[index]


class FakeParserError:
    def __init__(self, code: Any, desc: str, node: Any, index: int) -> None:
        self._code, self._desc, self._node, self._index = code, desc, node, index

    def code(self) -> Any:
        return self._code

    def desc(self) -> str:
        return self._desc

    def node(self) -> int:
        return self._index

    def node_operator(self) -> str:
        return self._node.op_type if self._node else ""

    def node_name(self) -> str:
        return self._node.name if self._node else ""


class FakeRuntime:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> FakeEngine | None:
        self._trt.driver.need_context()
        self._trt.calls.append(("deserialize", len(serialized_engine)))
        if "deserialize_cuda_engine" in self._trt.failing:
            self._logger.log(ILogger.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magic tag)")
            return None
        return FakeEngine(self._trt, serialized_engine)


class FakeEngine:
    device_memory_size_v2 = 4096

    def __init__(self, trt: FakeTensorRT, plan: bytes) -> None:
        import onnxruntime

        size = int.from_bytes(plan[4:8], "little")
        header = json.loads(plan[8 : 8 + size])
        content = plan[8 + size :]
        self._trt, self._profiles = trt, header["profiles"]
        self._graph = onnx.load_from_string(content).graph
        self._tensors = {tensor.name: tensor for tensor in (*self._graph.input, *self._graph.output)}
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        inputs = [tensor.name for tensor in self._graph.input]
        return self._trt.TensorIOMode.INPUT if name in inputs else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType[TYPES[self._tensors[name].type.tensor_type.elem_type]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        dims = self._tensors[name].type.tensor_type.shape.dim
        return tuple(-1 if dim.dim_param else dim.dim_value for dim in dims)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        return self._profiles[profile_index][name]

    def create_execution_context(self, strategy: Any) -> FakeContext | None:
        return self._trt.result("create_execution_context", FakeContext(self._trt, self), None)


class FakeContext:
    def __init__(self, trt: FakeTensorRT, engine: FakeEngine) -> None:
        self._trt, self._engine = trt, engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._profile = 0
        self._scratch = 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self._engine.device_memory_size_v2
        self._scratch = memory

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        def switch() -> None:
            self._profile = profile_index

        if "set_optimization_profile_async" in self._trt.failing:
            return False
        self._trt.driver.streams.put(stream_handle, Work(run=switch))
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        self._shapes[name] = tuple(shape)
        fits = all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
        return self._trt.result("set_input_shape", fits, False)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        known: dict[str, int] = {}
        for tensor, shape in self._shapes.items():
            for dim, size in zip(self._dims(tensor), shape, strict=True):
                known[dim.dim_param] = size
        return tuple(known.get(dim.dim_param, -1) if dim.dim_param else dim.dim_value for dim in self._dims(name))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0
        self._trt.driver.bytes_at(memory, 1)
        self._addresses[name] = memory
        return self._trt.result("set_tensor_address", True, False)

    def execute_async_v3(self, stream_handle: int) -> bool:
        driver = self._trt.driver
        driver.need_context()
        assert self._scratch in driver.memory
        if "execute_async_v3" in self._trt.failing:
            return False
        uses = frozenset(map(driver.allocation, (self._scratch, *self._addresses.values())))
        run = functools.partial(self._compute, self._profile, dict(self._shapes), dict(self._addresses))
        driver.streams.put(stream_handle, Work(run=run, uses=uses))
        return True

    def _compute(self, profile: int, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        self._trt.calls.append(("execute", (profile, shapes)))
        feed = {name: self._view(name, addresses[name], shape) for name, shape in shapes.items()}
        names = [output.name for output in self._engine.session.get_outputs()]
        for name, value in zip(names, self._engine.session.run(names, feed), strict=True):
            assert value.shape == self.get_tensor_shape(name)
            self._view(name, addresses[name], value.shape)[...] = -value if self._trt.wrong else value

    def _dims(self, name: str) -> Any:
        return self._engine._tensors[name].type.tensor_type.shape.dim

    def _view(self, name: str, address: int, shape: tuple[int, ...]) -> Any:
        kind = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * kind.itemsize
        return self._trt.driver.bytes_at(address, size).view(kind).reshape(shape)
