"""Receipts: the exact bytes that a worker signs.

A receipt names the lease by its fencing token, the model, the input and the output by digest, the
decision trace, and the FLOPs that follow from it. The signature is Ed25519 (RFC 8032) over
`signed_bytes`; `exchange.metering.signing` makes and checks it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple

_MARK: Final = b"flopex.receipt.v1\x00"
_FIXED: Final = struct.Struct("<QIQBQQ32s32s32sI")
_REGISTER_MARK: Final = b"flopex.register.v1\x00"


class ReceiptError(ValueError):
    """The bytes are not a receipt."""


class ReceiptBody(NamedTuple):
    """What a receipt states; `cause` is `exchange.core.commands.StopCause`."""

    lease_id: int
    fence_epoch: int
    fence_sequence: int
    cause: int
    flops: int
    seed: int
    model_digest: bytes
    input_digest: bytes
    output_digest: bytes
    trace: bytes

    def signed_bytes(self) -> bytes:
        """The bytes under the signature: a mark, fixed little-endian fields, the trace."""
        return _MARK + _FIXED.pack(*self[:9], len(self.trace)) + self.trace

    def digest(self) -> bytes:
        """SHA-256 of the signed bytes."""
        return hashlib.sha256(self.signed_bytes()).digest()


def parse_signed_bytes(data: bytes) -> ReceiptBody:
    """The receipt that these signed bytes state.

    Raises:
        ReceiptError: wrong mark or length.
    """
    start = len(_MARK)
    if not data.startswith(_MARK) or len(data) < start + _FIXED.size:
        raise ReceiptError("not a receipt of version 1")
    *fields, length = _FIXED.unpack_from(data, start)
    trace = data[start + _FIXED.size :]
    if len(trace) != length:
        raise ReceiptError(f"the trace has {len(trace)} bytes, not {length}")
    return ReceiptBody._make((*fields, trace))


def register_bytes(name: str, public_key: bytes) -> bytes:
    """The bytes that a worker signs when it registers, to prove that it holds its key."""
    return _REGISTER_MARK + public_key + name.encode()
