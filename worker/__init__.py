"""The worker: dials the exchange, sells slots, runs leases, meters them and signs receipts."""
