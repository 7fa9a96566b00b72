"""The naive twins of `Book`, `ClearingGroup` and `LegDesk`: to be read, not to be fast.

One flat list of orders, or of bids and of quotes, scanned in full for every decision. They share
the words (orders, events, quotes, the ramp) with the real ones and none of their structure, give
the same answers, and have the same `state()`. Tests compare the two.
"""

from __future__ import annotations

from matching.reference_book import NaiveBook
from matching.reference_clearing import NaiveClearingGroup
from matching.reference_legs import NaiveLegDesk

__all__ = ["NaiveBook", "NaiveClearingGroup", "NaiveLegDesk"]
