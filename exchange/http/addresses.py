"""Addresses to listen on, or to call, as text."""

from __future__ import annotations


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of "host:port", with an IPv6 host in brackets.

    Raises:
        ValueError: it is something else, such as a URL.

    >>> split_address("[::1]:7412")
    ('::1', 7412)
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
