"""Market data over WebSocket: one stream of the exchange for all who watch the same thing.

`sockets` speaks with clients, `upstreams` shares the exchange's streams among them, `images` keeps
what a newcomer must be told first, and `outbox` is what one client has not read yet.
"""
