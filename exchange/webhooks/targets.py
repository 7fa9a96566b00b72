"""Which URLs the exchange calls: https on the public internet, unless the operator allows more.

A webhook is a way for a stranger to make the exchange's machine call an address of his choosing, so
an address that only this machine can reach must never be one. A name is judged by the addresses
that it has at the moment of the call, and those addresses are called: asking twice would let a name
change in between.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from exchange.webhooks.errors import TargetRefused

URL_CHARS_MAX: Final = 2_048
"""Longest URL."""
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/32")
"""IPv4 addresses within IPv6 ones (NAT64): they may lead to any network."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse a URL that must not be called, as far as it shows.

    Raises:
        TargetRefused: With what is wrong.
    """
    if len(url) > URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise TargetRefused(f"must be at most {URL_CHARS_MAX} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise TargetRefused(f"is no URL: {error}") from error
    if parts.scheme not in (("https", "http") if allow_private else ("https",)) or not host:
        raise TargetRefused("must begin with https://, and a host must follow")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise TargetRefused("must have no user name, password or fragment")
    if not allow_private and _is_address(host) and not is_public(host):
        raise TargetRefused("must lie on the public internet")


def is_public(address: str) -> bool:
    """Whether an IP address is anybody's to call."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if inner:
            return is_public(str(inner))
        if found in _TRANSLATED:
            return False
    return found.is_global and not found.is_multicast


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
