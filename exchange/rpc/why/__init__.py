"""Why an order would not fill, why a job waits, why a worker is passed over.

`supply` is what the answers have in common; `orders`, `jobs` and `workers` give one each. They read
the core and, for what lies further back, rows of the read model; they change nothing.
"""
