"""The packed form of order instructions and reports, for both ends of an order stream.

A protobuf message costs a Python process about a microsecond for each order that it reads and two
for each report that it writes. Whoever trades much sends fixed rows in one `bytes` field instead
and gets rows back; the fields are those of `Instruction` and `ExecutionReport`. Little-endian, 72
bytes an instruction, 96 a report: docs/reference/packed-orders.md.
"""

from __future__ import annotations

import struct
from typing import Final

INSTRUCTION: Final = struct.Struct("<5B3xI4xQ16s4q")
"""action, side, order type, time in force, self-trade prevention, instrument, order, client order,
price, quantity, expiry, money cap."""

REPORT: Final = struct.Struct("<QqIIH3B3xQ16sqqqQq")
"""sequence, event time, index, instrument, reason, execution type, state, side, order, client
order, price, quantity, leaves, trade, retry time."""

PLACE: Final = 1
CANCEL: Final = 2
REPLACE: Final = 3

NO_ID: Final = bytes(16)
