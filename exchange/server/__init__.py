"""Start-up and shutdown: engine, blob store and gRPC server as one process."""

from exchange.server.server import Server, ServerConfig, ServerFailed, serve

__all__ = ["Server", "ServerConfig", "ServerFailed", "serve"]
