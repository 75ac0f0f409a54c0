"""Preprocessing on an NVIDIA device: the CUDA source, its compiler, and its launch through PyCUDA."""
