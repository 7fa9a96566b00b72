"""A scenario against a live exchange over gRPC: real processes, real time, the same demand."""
