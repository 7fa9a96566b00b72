"""Which URLs are called, and how deliveries are signed."""

from __future__ import annotations

import pytest

from exchange.webhooks.errors import TargetRefused
from exchange.webhooks.signing import headers, new_secret
from exchange.webhooks.targets import URL_CHARS_MAX, check_url, is_public

PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "2002:101:101::"]
PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.1.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_only_somebody_can_reach(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url", ["https://example.org/hook?a=b", "https://1.1.1.1:8443/", "https://[2606:4700::1111]/"]
)
def test_urls_that_may_be_called(url: str) -> None:
    check_url(url, allow_private=False)
    check_url(url, allow_private=True)


@pytest.mark.parametrize("url", ["http://example.org/", "https://127.0.0.1/", "http://[::1]:80/"])
def test_urls_that_the_operator_may_allow(url: str) -> None:
    check_url(url, allow_private=True)
    with pytest.raises(TargetRefused):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.org/",
        "https://user@example.org/",
        "https://example.org/#here",
        "https://example.org:99999/",
        "https://[::1/",
        "https://2130706433/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://1.1.1.1\\@10.0.0.1/",
        "https://1.1.1.1 @10.0.0.1/",
        "https://exa mple.org/",
        "https://example.org/\n",
        "https://exämple.org/",
        "https://example.org/" + "x" * URL_CHARS_MAX,
    ],
)
def test_urls_that_nobody_may_call(url: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(TargetRefused):
            check_url(url, allow_private=allow_private)


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks specification."""
    found = headers(
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1_731_705_121,
        b'{"event_type":"ping","data":{"success":true}}',
    )
    assert found["webhook-signature"] == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_secrets_differ() -> None:
    assert new_secret() != new_secret()
