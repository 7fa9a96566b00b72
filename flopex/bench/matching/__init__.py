"""`flopex bench matching`: the matching engine beside its peers, on the same commands, in one run.

A workload is made once from a seed (`workloads`) and written to a file that every contestant reads.
Each measurement is a process of its own (`contestant`), so that no contestant pays for another's
memory; a peer from PyPI runs in the interpreter in which it is installed, and liquibook in a small
C++ driver that is compiled against the reader's own checkout (`liquibook`). Before anything is
timed, every contestant's trades are compared with a search that is too simple to be wrong
(`oracle`).
"""
