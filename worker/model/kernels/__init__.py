"""The gate as CUDA kernels: their source, and how to launch it with CuPy."""
