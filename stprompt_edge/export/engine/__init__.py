"""ONNX -> TensorRT on the device that will run it. No torch here."""

from stprompt_edge.export.engine.build import BuiltEngine, EngineSettings, build_engine
from stprompt_edge.runtime.backends.cuda.engines.profiles import BatchSizes

__all__ = ["BatchSizes", "BuiltEngine", "EngineSettings", "build_engine"]
