"""Everything that runs on CUDA: kernels, TensorRT engines, graphs of launches, one camera on the device."""
