"""What is measured on footage: int8 for TensorRT. onnx is imported when quantizing begins."""

from stprompt_edge.calibration.command import calibrate_int8
from stprompt_edge.calibration.records import METHODS, AucFigures, Int8Calibration, Int8Settings

__all__ = ["METHODS", "AucFigures", "Int8Calibration", "Int8Settings", "calibrate_int8"]
