"""The read model: what happened, in tables, for those who ask later.

Orders, jobs, leases, trades, candles, ledger entries and receipts, in SQLite by default and in
PostgreSQL by URL. It is derived from the journal and can be made again from it at any time, so
nothing depends on it that must not be lost. `Feed` writes, `ReadModel` answers,
`check_read_model` compares both with the core.
"""
