"""Preprocessing and the adapter on an NVIDIA device: the CUDA source, its compiler, and its launch through PyCUDA."""

from stprompt_edge.runtime.backends.cuda.kernels.adapter import CudaAdapter
from stprompt_edge.runtime.backends.cuda.kernels.compile import BuiltCubin, build_cubin
from stprompt_edge.runtime.backends.cuda.kernels.launch import CudaPreprocessor
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr

__all__ = ["BuiltCubin", "CudaAdapter", "CudaPreprocessor", "build_cubin", "nv12_to_bgr"]
