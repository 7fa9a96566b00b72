"""Engines: what runs a job. All share the protocol in `worker.engines.base`."""
