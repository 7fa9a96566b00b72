"""Benchmarks as commands: each prints a table, its method, and one JSON object on request."""
