"""Webhooks: an account is told over HTTPS when its jobs end, and when a price is reached.

The read model is the queue: each webhook has a place in it, and what lies behind that place is
still to be told. So a crash, a restart or an endpoint that is down for hours loses nothing, and
nothing piles up in memory. `deliveries` reads and tells, `alerts` watches prices, `store` keeps the
places; `servicer` is how accounts say what they want. Telling is a process of its own
(`python -m exchange.webhooks`), which never holds up the market.
"""
