"""The HTTP edge: health, metrics, the public overview and the page.

It knows the state machine and the engine; all else that it shows is handed to it as `Sources`.
"""

from exchange.http.app import HttpServer
from exchange.http.listener import connections_max
from exchange.http.sources import Sources

__all__ = ["HttpServer", "Sources", "connections_max"]
