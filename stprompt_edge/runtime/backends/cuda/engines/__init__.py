"""TensorRT engines of a bundle: which device they are for, what they were built of, and how TensorRT is called."""
