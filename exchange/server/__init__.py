"""Start-up and shutdown: engine, blob store and gRPC server as one process."""

from exchange.server.config import GATEWAY_COMMAND, ServerConfig
from exchange.server.server import Server, ServerFailed, serve

__all__ = ["GATEWAY_COMMAND", "Server", "ServerConfig", "ServerFailed", "serve"]
