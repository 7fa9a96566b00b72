"""What one account may send: the operator's terms at work.

An order, a replacement and a job are messages that may be refused. A cancel counts and is never
refused, because it only lowers risk; what was refused for another reason does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exchange.core.commands import SetAccountLimits, decode
from exchange.core.reasons import Reason
from exchange.core.throttle import OrderToTrade, RatioTerms, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.state import State

_ALL_INSTRUMENTS: Final = 0
"""The order-to-trade limit of an account counts all its instruments together."""


class MessageLimits:
    """A rate of messages, and order messages per trade; None where there is no such limit.

    Attributes:
        terms: What the operator set.
    """

    __slots__ = ("_bucket", "_ratio", "terms")

    def __init__(self, terms: SetAccountLimits, now_ns: int) -> None:
        """The bucket is full, and nothing is counted yet.

        Raises:
            ValueError: a term is outside its limits.
        """
        self.terms = terms
        self._bucket: TokenBucket | None = None
        if terms.messages_per_s or terms.message_burst:
            self._bucket = TokenBucket(terms.messages_per_s, terms.message_burst, now_ns)
        ratio = RatioTerms.of(terms)
        self._ratio = OrderToTrade(ratio) if any(ratio) else None

    def refusal(self, state: State, *, is_order: bool = True) -> Reason:
        """Why one more message is too much now, or NONE. Counts nothing."""
        if self._bucket is not None:
            ready_ns = self._bucket.ready_ns(1)
            assert ready_ns is not None, "a bucket holds one token at least"
            if ready_ns > state.now_ns:
                return state.refused_until(Reason.MESSAGE_RATE, ready_ns)
        if not is_order:
            return Reason.NONE
        return ratio_refusal(state, self._ratio, self.terms.account_id, _ALL_INSTRUMENTS)

    def message(self, now_ns: int, *, is_order: bool = True) -> None:
        """Count a message that was taken, or that is never refused."""
        if self._bucket is not None:
            self._bucket.drain(1, now_ns)
        if is_order and self._ratio is not None:
            self._ratio.message(self.terms.account_id, _ALL_INSTRUMENTS, now_ns)

    def trade(self, now_ns: int) -> None:
        """Count a trade of the account."""
        if self._ratio is not None:
            self._ratio.trade(self.terms.account_id, _ALL_INSTRUMENTS, now_ns)

    def check(self) -> None:
        """Assert every invariant."""
        if self._bucket is not None:
            self._bucket.check()
        if self._ratio is not None:
            self._ratio.check()

    def state(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return (
            self.terms.encode(),
            self._bucket.state() if self._bucket else (),
            self._ratio.state() if self._ratio else (),
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> MessageLimits:
        """The limits whose `state` it was."""
        record, bucket, ratio = state
        (terms,) = decode(record)
        assert isinstance(terms, SetAccountLimits)
        limits = cls(terms, 0)
        limits._bucket = TokenBucket.restored(bucket) if bucket else None
        if limits._ratio is not None:
            limits._ratio.restore(ratio)
        return limits


def ratio_refusal(
    state: State, ratio: OrderToTrade | None, account_id: int, instrument_id: int
) -> Reason:
    """Why one more order message is too much in the present window, or NONE. Counts nothing."""
    if ratio is None or ratio.allows(account_id, instrument_id, state.now_ns):
        return Reason.NONE
    return state.refused_until(Reason.ORDER_TO_TRADE, ratio.window_end_ns(state.now_ns))


def limits_for(terms: SetAccountLimits, now_ns: int) -> MessageLimits | Reason | None:
    """The limits that the operator's terms make; None for none, or why they cannot be."""
    if terms == SetAccountLimits(terms.account_id):
        return None
    try:
        limits = MessageLimits(terms, now_ns)
    except ValueError:
        return Reason.FIELD_INVALID
    if not terms.order_to_trade_window_ns and (
        terms.order_to_trade_free or terms.order_to_trade_ratio
    ):
        return Reason.FIELD_INVALID
    return limits
