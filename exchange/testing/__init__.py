"""Test doubles for users of the exchange, and for its own tests."""

from exchange.testing.clock import ManualClock, PatientClock
from exchange.testing.ids import uuid7
from exchange.testing.in_process import InProcessExchange, metadata

__all__ = ["InProcessExchange", "ManualClock", "PatientClock", "metadata", "uuid7"]
