"""The `flopex` command: the composition root of the exchange, the worker, the demo and the bench.

It imports all other packages; nothing imports it.
"""
