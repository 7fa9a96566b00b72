"""Errors of the adaptive model that do not need NumPy to be caught."""

from __future__ import annotations


class WeightsError(Exception):
    """The weights cannot be used; the text is for people."""


class DeviceError(Exception):
    """The model cannot run where it was asked to; the text is for people."""
