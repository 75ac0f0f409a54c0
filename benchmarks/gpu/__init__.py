"""What `benchmarks.gpu_check` is made of. Needs NumPy, OpenCV and torch; what else is missing is named, not fatal."""
