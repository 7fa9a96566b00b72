"""Flopex, a real-time exchange for GPU compute. Importing this package imports nothing else."""

__version__ = "0.1.0"
