"""`flopex bench gating`: the gate's CUDA kernels, checked and measured on a GPU."""
