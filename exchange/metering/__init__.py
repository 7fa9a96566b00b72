"""Metering: model cards, FLOPs as an integer function of a decision trace, costs, receipts.

Used by the worker, who meters, and by the exchange, which re-computes every receipt. Integers only;
no model is needed to check one.
"""
