"""What became of a packed batch, and what others did: compiled with the core, free of protobuf.

Rows are those of `exchange.packed`; what no row says as it stands is the caller's. The response
around them is written as protobuf would write it (a test holds both equal), because building the
message costs as much as all that it tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64, u8

from exchange.core.event_rows import (
    ACCEPTED,
    ACCEPTED_BYTES,
    CLOSED,
    CLOSED_LEAVES_AT,
    FILLED,
    FILLED_INSTRUMENT_AT,
    FILLED_MAKER_AT,
    FILLED_MAKER_LEAVES_AT,
    FILLED_PRICE_AT,
    FILLED_QUANTITY_AT,
    FILLED_TAKER_AT,
    FILLED_TAKER_LEAVES_AT,
    ID_AT,
    PARTIES_AT,
    POSTED,
    REFUSED,
    EventRows,
    row_bytes,
)
from exchange.core.events import AnyEvent, OrderState
from exchange.core.placements import cancel_in
from exchange.packed import NO_ID, REPORT
from exchange.rpc.pushes import Push

TRADE: Final = 2
CANCELED: Final = 3
EXPIRED: Final = 6
REJECTED: Final = 5
"""Execution types of the rows that are made here (a test holds them equal to the API's)."""
_STATE_EXPIRED: Final = int(OrderState.EXPIRED)
_STATE_PARTIALLY_FILLED: Final = int(OrderState.PARTIALLY_FILLED)
_STATE_FILLED: Final = int(OrderState.FILLED)

_NO_ID: Final = NO_ID
"""Compiled, a constant is at hand, where an imported name is looked up each time."""

_ROW_BYTES: Final = REPORT.size
_REQUEST_ID: Final = 1 << 3
_SEQUENCE: Final = 2 << 3
_ACCEPTED: Final = 3 << 3 | 2
_PACKED_REPORTS: Final = 5 << 3 | 2
"""How protobuf marks the fields of a TradeResponse: number, and 2 where bytes follow."""
_FIRST_INDEX: Final = 1 << 3
_COUNT: Final = 2 << 3
_FIRST_ORDER_ID: Final = 3 << 3
"""And those of an AckRange, which is so short that one byte tells its length."""

_AFTER_A_BYTE: Final = (1 << 57) - 1
"""What is left of a word's bits once seven are written."""

_BYTE: Final = (1 << 8) - 1
_LOW: Final = (1 << 32) - 1


def acceptances(
    indexes: list[int], told: EventRows
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """What plain acceptances a batch's events tell of, and which commands have more to tell.

    Args:
        indexes: Each command's place in the request.
        told: Each command's events.

    Returns:
        Ranges (first place, count, first order) of orders that were accepted one after the other,
        and the numbers of the commands of which a range does not tell all.
    """
    ranges: list[tuple[int, int, int]] = []
    untold: list[int] = []
    first_index: i64 = 0
    first_order_id: i64 = 0
    count: i64 = 0
    rows = told.rows
    at: i64 = told.begin(0)
    for number in range(len(told)):
        end: i64 = told.begin(number + 1)
        if read_i64_le(rows, at) & _BYTE == ACCEPTED:
            order_id: i64 = read_i64_le(rows, at + ID_AT)
            index: i64 = indexes[number]
            if count and order_id == first_order_id + count and index == first_index + count:
                count += 1
            else:
                if count:
                    ranges.append((first_index, count, first_order_id))
                first_index, first_order_id, count = index, order_id, 1
            at += ACCEPTED_BYTES
        if at < end:
            untold.append(number)
            at = end
    if count:
        ranges.append((first_index, count, first_order_id))
    return ranges, untold


def answer(
    account_id: int,
    request_id: int,
    first_sequence: int,
    now_ns: int,
    records: bytes,
    begins: bytes,
    indexes: list[int],
    told: EventRows,
    rejected: bytes,
    unusual: Callable[[int, AnyEvent], bytes],
) -> bytes:
    """The answer to a batch, for the account that gave it: ranges, and rows of everything else.

    Args:
        account_id: Whose commands they are.
        request_id: The batch's.
        first_sequence: Of the first command.
        now_ns: Journal time of all of them, nanoseconds since the epoch.
        records: The commands.
        begins: Where each of them begins (`record_begins`).
        indexes: Each command's place in the request.
        told: Each command's events.
        rejected: Rows of what did not become a command.
        unusual: Makes the rows of an event that no row says as it stands.
    """
    ranges, untold = acceptances(indexes, told)
    rows, out = told.rows, BytesWriter()
    out.write(rejected)
    for number in untold:
        sequence, asked_at = first_sequence + number, indexes[number]
        at: i64 = told.begin(number)
        end: i64 = told.begin(number + 1)
        while at < end:
            kind = read_i64_le(rows, at) & _BYTE
            if kind in (ACCEPTED, POSTED):
                pass  # told by a range; and money is the ledger's to tell
            elif not _usual(out, account_id, sequence, now_ns, asked_at, rows, at):
                named = cancel_in(records, begins, number) if kind == REFUSED else None
                if named is None:
                    out.write(unusual(number, told.event_at(at)))
                else:
                    _refused(out, sequence, now_ns, asked_at, named, read_i64_le(rows, at))
            at += row_bytes(rows, at)
    return response(request_id, first_sequence + len(told) - 1, ranges, out.getvalue())


def unasked(
    account_id: int, pushes: list[Push], unusual: Callable[[Push, AnyEvent], bytes]
) -> bytes:
    """The rows of what an account did not ask for.

    Args:
        account_id: Whom to tell.
        pushes: What others did, oldest first.
        unusual: Makes the rows of what is neither a fill nor an end.
    """
    out = BytesWriter()
    for push in pushes:
        for one in push.happened:
            if not isinstance(one, bytes):
                out.write(unusual(push, one))
            elif not _usual(out, account_id, push.sequence, push.now_ns, 0, one, 0):
                raise AssertionError("an account was pushed what does not concern it")
    return out.getvalue()


def response(
    request_id: int, sequence: int, ranges: list[tuple[int, int, int]], rows: bytes
) -> bytes:
    """A `TradeResponse` as protobuf writes it.

    Args:
        request_id: The batch's; 0 for what nobody asked for.
        sequence: All up to here is durable.
        ranges: Acceptances: (first place, count, first order).
        rows: Everything else.
    """
    made = BytesWriter()
    _number(made, _REQUEST_ID, _word(request_id))
    _number(made, _SEQUENCE, sequence)
    for first_index, count, first_order_id in ranges:
        made.append(_ACCEPTED)
        made.append(0)  # the length, once it is known
        start: i64 = len(made)
        _number(made, _FIRST_INDEX, first_index)
        _number(made, _COUNT, count)
        _number(made, _FIRST_ORDER_ID, first_order_id)
        made[start - 1] = u8(len(made) - start)
    if rows:
        _number(made, _PACKED_REPORTS, len(rows))
        made.write(rows)
    return made.getvalue()


def last_sequence(rows: bytes) -> int:
    """The sequence that the last of these rows tells of."""
    return int.from_bytes(rows[-_ROW_BYTES : 8 - _ROW_BYTES], "little")


def _number(made: BytesWriter, mark: int, word: i64) -> None:
    """A field: its mark, then seven bits a byte, lowest first. Nothing says 0."""
    if not word:
        return
    made.append(mark)
    while word < 0 or word > 0x7F:
        made.append(word & 0x7F | 0x80)
        word = word >> 7 & _AFTER_A_BYTE
    made.append(word)


def _word(unsigned: int) -> i64:
    """The word with the bits of a number that a client chose: it may take all 64."""
    return unsigned if unsigned < 1 << 63 else unsigned - (1 << 64)


def _usual(
    out: BytesWriter, account_id: i64, sequence: i64, now_ns: i64, index: i64, rows: bytes, at: i64
) -> bool:
    """Write the row of a fill or an end, which most reports are; False for any other event."""
    head: i64 = read_i64_le(rows, at)
    kind = head & _BYTE
    if kind == FILLED:
        parties: i64 = read_i64_le(rows, at + PARTIES_AT)
        side = head >> 8 & _BYTE
        if parties >> 32 & _LOW == account_id:
            order_id = read_i64_le(rows, at + FILLED_TAKER_AT)
            leaves = read_i64_le(rows, at + FILLED_TAKER_LEAVES_AT)
        elif parties & _LOW == account_id:
            order_id = read_i64_le(rows, at + FILLED_MAKER_AT)
            leaves = read_i64_le(rows, at + FILLED_MAKER_LEAVES_AT)
            side = 3 - side
        else:
            return False
        words = TRADE | (_STATE_PARTIALLY_FILLED if leaves else _STATE_FILLED) << 8 | side << 16
        instrument_id = read_i64_le(rows, at + FILLED_INSTRUMENT_AT)
        _head(out, sequence, now_ns, index, instrument_id, words << 16)
        price = read_i64_le(rows, at + FILLED_PRICE_AT)
        quantity = read_i64_le(rows, at + FILLED_QUANTITY_AT)
        _tail(out, order_id, _NO_ID, price, quantity, leaves, read_i64_le(rows, at + ID_AT))
        return True
    if kind == CLOSED:
        parties = read_i64_le(rows, at + PARTIES_AT)
        if parties & _LOW != account_id:
            return False
        state = head >> 8 & _BYTE
        reason = head >> 16 & 0xFFFF
        words = (EXPIRED if state == _STATE_EXPIRED else CANCELED) | state << 8
        _head(out, sequence, now_ns, index, parties >> 32 & _LOW, words << 16 | reason)
        left = read_i64_le(rows, at + CLOSED_LEAVES_AT)
        _tail(out, read_i64_le(rows, at + ID_AT), _NO_ID, 0, left, 0, 0)
        return True
    return False


def _refused(
    out: BytesWriter, sequence: i64, now_ns: i64, index: i64, named: tuple[int, bytes], head: i64
) -> None:
    """Write the row of a cancel that changed nothing: its order has traded meanwhile, often."""
    order_id, client_order_id = named
    named_by = _NO_ID if order_id else client_order_id
    _head(out, sequence, now_ns, index, 0, REJECTED << 16 | head >> 8 & 0xFFFF)
    _tail(out, _word(order_id), named_by, 0, 0, 0, 0)


# A row of `REPORT`, written number by number: compiled, these are plain stores.


def _head(
    rows: BytesWriter, sequence: i64, now_ns: i64, index: i64, instrument_id: i64, words: i64
) -> None:
    write_i64_le(rows, sequence)
    write_i64_le(rows, now_ns)
    write_i64_le(rows, index | instrument_id << 32)  # two numbers of 32 bits
    write_i64_le(rows, words)  # reason, then execution type, state and side of 8 bits each


def _tail(
    rows: BytesWriter,
    order_id: i64,
    client_order_id: bytes,
    price: i64,
    quantity: i64,
    leaves: i64,
    trade_id: i64,
) -> None:
    write_i64_le(rows, order_id)
    rows.write(client_order_id)
    write_i64_le(rows, price)
    write_i64_le(rows, quantity)
    write_i64_le(rows, leaves)
    write_i64_le(rows, trade_id)
    write_i64_le(rows, 0)
