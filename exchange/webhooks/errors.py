"""What can go wrong with webhooks."""

from __future__ import annotations


class WebhookError(Exception):
    """Webhooks cannot go on."""


class StoreUnavailable(WebhookError):
    """The file that they are kept in cannot be read or written."""


class TargetRefused(ValueError):
    """A URL that must not be called; the message says why."""


class TooMany(WebhookError):
    """The named maximum of webhooks or alerts is reached."""
