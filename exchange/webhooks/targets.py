"""Which URLs the exchange calls: https on the public internet, unless the operator allows more.

A webhook is a way for a stranger to make the exchange's machine call an address of his choosing, so
an address that only this machine can reach must never be one. A name is judged by the addresses
that it has at the moment of the call, and those addresses are called: asking twice would let a name
change in between.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from yarl import URL

from exchange.webhooks.errors import TargetRefused

URL_CHARS_MAX: Final = 2_048
"""Longest URL."""
_CONFUSING: Final = (" ", "\\")
_ALLOCATED: Final = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given to anybody (IANA). What lies outside may lead to any network: IPv4
addresses within IPv6 ones (NAT64, SIIT, IPv4-compatible), and what sites once had for their own."""


def check_url(text: str, *, allow_private: bool) -> URL:
    """The URL, unless it must not be called, as far as it shows.

    It is read here as the client that calls it reads it, which is given what this returns: two
    readers may find different hosts in one text.

    Raises:
        TargetRefused: With what is wrong.
    """
    if len(text) > URL_CHARS_MAX or not text.isascii() or not text.isprintable():
        raise TargetRefused(f"must be at most {URL_CHARS_MAX} printable ASCII characters")
    if any(sign in text for sign in _CONFUSING):
        raise TargetRefused("must have no space and no backslash")
    try:
        url = URL(text)
        host, _ = url.host, url.port
    except ValueError as error:
        raise TargetRefused(f"is no URL: {error}") from error
    if url.scheme not in (("https", "http") if allow_private else ("https",)) or not host:
        raise TargetRefused("must begin with https://, and a host must follow")
    if url.user is not None or url.password is not None or url.fragment:
        raise TargetRefused("must have no user name, password or fragment")
    if _looks_like_address(host):
        _require_address(host, allow_private)
    return url


def is_public(address: str) -> bool:
    """Whether an IP address is anybody's to call."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if inner:
            return is_public(str(inner))
        if found not in _ALLOCATED:
            return False
    return found.is_global and not found.is_multicast


def _looks_like_address(host: str) -> bool:
    """Whether a client would take this for an address, and look no name up."""
    return ":" in host or host.replace(".", "").isdigit()


def _require_address(host: str, allow_private: bool) -> None:
    """Let pass what is one, written in full: 127.1 and 2130706433 are 127.0.0.1 to some."""
    try:
        public = is_public(host)
    except ValueError as error:
        raise TargetRefused("has a host that is neither a name nor an address") from error
    if not public and not allow_private:
        raise TargetRefused("must lie on the public internet")
