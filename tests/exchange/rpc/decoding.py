"""Any bytes as a request: what the decoders may do with them. For the fuzzer and its small test.

The first byte of the input chooses the decoder (`DECODERS`), the rest is what it is given: the
message as it stands on the wire, or the bytes of a packed form. Whatever comes out must be a
command that its record can hold, or a refusal of the decoder's own kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from exchange.core import commands as c
from exchange.core.event_rows import NO_EVENTS
from exchange.core.exchange import Exchange
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.core.records import RecordError
from exchange.engine import Outcomes
from exchange.metering import signing
from exchange.metering.cards import INSTANT, SMOLLM2_135M, CardError, decode_card
from exchange.metering.receipts import (
    ReceiptBody,
    ReceiptError,
    parse_signed_bytes,
    register_bytes,
)
from exchange.metering.traces import DenseTrace, TraceError, decode_trace, flops
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE
from exchange.rpc.convert import accounts, enums, jobs, market, orders, packed, paging, workers
from exchange.rpc.errors import RpcError
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_pb2
from exchange.v1 import order_service_pb2 as orders_pb
from exchange.v1 import worker_service_pb2 as workers_pb
from tests.exchange.core.scenario import Market

ACCOUNT: Final = 7
NOTHING: Final = Outcomes(1, 0, NO_EVENTS)
WORKER: Final = 3
KEY: Final = bytes(range(32))
"""A private key, the same in every run."""
ROWS_MAX: Final = 64


def decode_anything(data: bytes) -> bool:
    """Give these bytes to one decoder; whether it took them.

    Raises:
        AssertionError: what came out is no command that its record holds.
        Exception: any error that is not the decoder's own is a finding.
    """
    kind, rest = data[:1], data[1:]
    decoder = DECODERS[int.from_bytes(kind) % len(DECODERS)]
    try:
        return decoder(rest)
    except (RpcError, DecodeError):
        return False


@cache
def core() -> Exchange:
    """Something for names to be found in; no decoder changes it."""
    scene = Market()
    scene.do(c.AddModel(SMOLLM2_135M.encode()))
    return scene.exchange


def taken(found: c.Command | Reason) -> bool:
    """A command comes out of its record as it went in, or does not fit it; a reason is one."""
    if isinstance(found, Reason):
        assert found is not Reason.NONE
        return False
    try:
        record = found.encode()
    except RecordError:
        return False
    assert c.decode(record) == [found]
    return True


def all_taken(made: orders.Batch) -> bool:
    """Every instruction became a command or a reject, each in its place."""
    places = [*made.indexes, *(reject.place for reject in made.rejects)]
    assert sorted(places) == list(range(made.size))
    results = [taken(command) for command in made.commands]
    return all(results) and not made.rejects


def _trade(data: bytes) -> bool:
    request = orders_pb.TradeRequest.FromString(data)
    made = orders.batch(ACCOUNT, request.instructions, stream_id=len(data) % 2)
    good = all_taken(made)
    answer = orders.answer(core(), request.request_id, orders.Batch([], [], made.rejects), NOTHING)
    assert len(answer.reports) == len(made.rejects)
    return good


def _packed_rows(data: bytes) -> bool:
    rows = data[: min(len(data) // packed.ROW_BYTES, ROWS_MAX) * packed.ROW_BYTES]
    made = packed.batch(ACCOUNT, rows, stream_id=len(data) % 2)
    assert made.size * packed.ROW_BYTES == len(rows)
    good = all_taken(made)
    rejected = orders.Batch(Recorded(b""), [], made.rejects, packed=True)
    answer = packed.answer(core(), 1, ACCOUNT, rejected, NOTHING)
    assert len(orders_pb.TradeResponse.FromString(answer).packed_reports) == 96 * len(made.rejects)
    return good


def _place(data: bytes) -> bool:
    return taken(orders.place_order(ACCOUNT, orders_pb.PlaceOrderRequest.FromString(data).order))


def _replace(data: bytes) -> bool:
    request = orders_pb.ReplaceOrderRequest.FromString(data)
    return taken(orders.replace_order(ACCOUNT, request.replacement))


def _cancel(data: bytes) -> bool:
    one = orders_pb.CancelOrderRequest.FromString(data)
    many = orders_pb.CancelOrdersRequest.FromString(data)
    good = taken(orders.mass_cancel(ACCOUNT, many.orders))
    return taken(orders.cancel_order(ACCOUNT, one.order)) and good


def _submit(data: bytes) -> bool:
    request = jobs_pb.SubmitJobRequest.FromString(data)
    made = jobs.submission(core(), ACCOUNT, request)
    assert jobs_pb.JobInput.FromString(made.payload) == request.input
    assert made.command.payload_bytes == len(made.payload)
    return taken(made.command)


def _session(data: bytes) -> bool:
    """A message of a worker's session, as `WorkerSteps` takes it apart."""
    request = workers_pb.SessionRequest.FromString(data)
    if request.HasField("quote"):
        return taken(workers.quote(core(), WORKER, request.quote))
    if request.HasField("receipt"):
        body, signable = workers.receipt_body(request.receipt)
        if signable:
            assert parse_signed_bytes(body.signed_bytes()) == body
        return taken(workers.settle_lease(WORKER, body, signable, 1, workers.NO_DIGEST))
    for kind, step in (("accept", c.AcceptLease), ("started", c.StartLease)):
        if request.HasField(kind):  # type: ignore[arg-type]
            message = getattr(request, kind)
            fence = (message.fence.epoch, message.fence.sequence)
            return taken(step(WORKER, message.lease_id, *fence))
    return False


def _registration(data: bytes) -> bool:
    """A registration whose signature is made right, so that what lies behind it is reached."""
    message = workers_pb.Register.FromString(data)
    message.public_key = signing.public_key(KEY)
    signed = register_bytes(message.name, message.public_key)
    message.signature = signing.sign(KEY, signed)
    return taken(workers.register_worker(ACCOUNT, message))


def _instrument(data: bytes) -> bool:
    request = admin_pb.CreateInstrumentRequest.FromString(data)
    return taken(market.add_instrument(core(), request.instrument))


def _protections(data: bytes) -> bool:
    request = admin_pb.SetProtectionsRequest.FromString(data)
    return taken(market.set_protections(1, request.protections))


def _state(data: bytes) -> bool:
    request = admin_pb.SetInstrumentStateRequest.FromString(data)
    state = enums.from_proto(c.TradingState, request.state, "state")
    found = market.find_instrument(core(), request.instrument)
    return taken(c.SetInstrumentState(found.instrument_id, state, request.call_ns))


def _key(data: bytes) -> bool:
    request = admin_pb.CreateKeyRequest.FromString(data)
    roles = accounts.roles(request.roles)
    found = accounts.find_account(core(), request.account)
    return taken(c.AddKey(found.account_id, int(roles), bytes(32), request.label))


def _money(data: bytes) -> bool:
    request = admin_pb.DepositRequest.FromString(data)
    found = accounts.find_account(core(), request.account)
    return taken(c.Deposit(found.account_id, request.request_id, request.amount_nanos))


def _card(data: bytes) -> bool:
    try:
        card = decode_card(data)
    except CardError:
        return False
    assert decode_card(card.encode()) == card
    return taken(c.AddModel(card.encode()))


def _trace(data: bytes) -> bool:
    try:
        trace = decode_trace(data)
    except TraceError:
        return False
    if isinstance(trace, DenseTrace):
        assert trace.encode() == data
        assert flops(INSTANT, trace) >= 0
    return True


def _receipt(data: bytes) -> bool:
    try:
        body = parse_signed_bytes(data)
    except ReceiptError:
        return False
    assert body.signed_bytes() == data
    return True


def _page(data: bytes) -> bool:
    try:
        token = data.decode()
    except UnicodeDecodeError:
        return False
    cursor = paging.decode_token(token)
    assert paging.decode_token(paging.encode_token(cursor)) == cursor
    return True


def _records(data: bytes) -> bool:
    """The payload of a journal's group."""
    try:
        found = c.decode(data)
    except RecordError:
        return False
    assert b"".join(command.encode() for command in found) == data
    return True


DECODERS: Final[tuple[Callable[[bytes], bool], ...]] = (
    _trade,
    _packed_rows,
    _place,
    _replace,
    _cancel,
    _submit,
    _session,
    _registration,
    _instrument,
    _protections,
    _state,
    _key,
    _money,
    _card,
    _trace,
    _receipt,
    _page,
    _records,
)


def seeds() -> list[bytes]:
    """Inputs to begin with, at least one for each decoder; all of them are taken."""
    found: dict[Callable[[bytes], bool], Iterable[bytes]] = {
        _trade: [_wire(_a_trade())],
        _packed_rows: [_some_rows()],
        _place: [_wire(orders_pb.PlaceOrderRequest(order=_an_order()))],
        _replace: [_wire(_a_replacement())],
        _cancel: [_wire(orders_pb.CancelOrderRequest(order=orders_pb.OrderReference(order_id=5)))],
        _submit: [_wire(_a_job("Hi")), _wire(_a_job("", "user", "Hi"))],
        _session: [_wire(message) for message in _worker_says()],
        _registration: [_wire(workers_pb.Register(name="w", slots=[2, 1], facts={"kind": "x"}))],
        _instrument: [_wire(_an_instrument())],
        _protections: [_wire(_some_protections())],
        _state: [_wire(_a_state())],
        _key: [_wire(admin_pb.CreateKeyRequest(account="ann", roles=["trader"], label="x"))],
        _money: [_wire(_a_deposit())],
        _card: [INSTANT.encode(), SMOLLM2_135M.encode()],
        _trace: [DenseTrace(10, 19).encode()],
        _receipt: [_a_receipt().signed_bytes()],
        _page: [paging.encode_token(77).encode(), b""],
        _records: [bytes(Market().records)],
    }
    return [
        bytes([DECODERS.index(decoder)]) + data
        for decoder, inputs in found.items()
        for data in inputs
    ]


def _wire(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _an_order() -> orders_pb.NewOrder:
    return orders_pb.NewOrder(
        client_order_id=bytes(range(16)),
        instrument_id=2,
        side=market_pb2.SIDE_BID,
        price_nanos=100,
        quantity_mflop=1_000,
        conditions=orders_pb.OrderConditions(hidden=True, min_quantity_mflop=7),
    )


def _a_trade() -> orders_pb.TradeRequest:
    legs = [orders_pb.OrderLeg(instrument_id=2, price_nanos=3, quantity_mflop=4)]
    multi = orders_pb.NewOrder(client_order_id=bytes(16), side=market_pb2.SIDE_BID, legs=legs)
    return orders_pb.TradeRequest(
        request_id=1,
        instructions=[
            orders_pb.Instruction(place=_an_order()),
            orders_pb.Instruction(place=multi),
            orders_pb.Instruction(cancel=orders_pb.OrderReference(client_order_id=bytes(16))),
            orders_pb.Instruction(replace=_a_replacement().replacement),
            orders_pb.Instruction(mass_cancel=orders_pb.OrderSelection(instrument_id=2)),
        ],
    )


def _some_rows() -> bytes:
    ident = bytes(range(16))
    return b"".join((
        INSTRUCTION.pack(PLACE, 1, 1, 1, 1, 2, 0, ident, 100, 10, 0, 0),
        INSTRUCTION.pack(CANCEL, 0, 0, 0, 0, 0, 5, NO_ID, 0, 0, 0, 0),
        INSTRUCTION.pack(REPLACE, 0, 0, 0, 0, 0, 5, NO_ID, 101, 9, 0, 0),
    ))  # fmt: skip


def _a_replacement() -> orders_pb.ReplaceOrderRequest:
    terms = orders_pb.OrderReplacement(order_id=5, price_nanos=101, quantity_mflop=9)
    return orders_pb.ReplaceOrderRequest(replacement=terms)


def _a_job(prompt: str, role: str = "", content: str = "") -> jobs_pb.SubmitJobRequest:
    messages = [jobs_pb.ChatMessage(role=role, content=content)] if role else []
    return jobs_pb.SubmitJobRequest(
        client_job_id=bytes(range(16)),
        model=INSTANT.name,
        input=jobs_pb.JobInput(prompt=prompt, messages=messages, output_tokens_max=20),
        instrument=f"{INSTANT.name}/cpu/interactive",
        value_nanos=10**6,
        deadline_ns=10**10,
    )


def _a_receipt() -> ReceiptBody:
    trace = DenseTrace(10, 19)
    digest = bytes(32)
    return ReceiptBody(4, 1, 9, 1, 29, 0, digest, digest, digest, trace.encode())


def _worker_says() -> list[workers_pb.SessionRequest]:
    body = _a_receipt()
    fence = workers_pb.Fence(epoch=body.fence_epoch, sequence=body.fence_sequence)
    receipt = workers_pb.Receipt(
        lease_id=body.lease_id,
        fence=fence,
        cause=jobs_pb.STOP_CAUSE_FINISHED,
        flops=body.flops,
        model_digest=body.model_digest,
        input_digest=body.input_digest,
        output_digest=body.output_digest,
        trace=body.trace,
        signature=bytes(64),
    )
    quote = workers_pb.Quote(instrument=f"{INSTANT.name}/cpu/interactive", prices_nanos=[1, 2])
    return [
        workers_pb.SessionRequest(quote=quote),
        workers_pb.SessionRequest(receipt=receipt),
        workers_pb.SessionRequest(accept=workers_pb.Accept(lease_id=4, fence=fence)),
        workers_pb.SessionRequest(started=workers_pb.Started(lease_id=4, fence=fence)),
    ]


def _an_instrument() -> admin_pb.CreateInstrumentRequest:
    terms = market_pb2.Instrument(
        name=f"{INSTANT.name}/gpu/interactive",
        settlement=market_pb2.SETTLEMENT_LEASE,
        clearing_mode=market_pb2.CLEARING_MODE_BATCH,
        tick_nanos=1,
        lot_mflop=1,
        price_min_nanos=1,
        price_max_nanos=10**9,
        quantity_max_mflop=10**9,
        context_tokens_max=4_096,
        latest_start_ns=10**9,
    )
    return admin_pb.CreateInstrumentRequest(instrument=terms)


def _some_protections() -> admin_pb.SetProtectionsRequest:
    asked = market_pb2.Protections(static_band_bps=300, book_orders_max=30)
    return admin_pb.SetProtectionsRequest(instrument="paper", protections=asked)


def _a_state() -> admin_pb.SetInstrumentStateRequest:
    auction = market_pb2.TRADING_STATE_AUCTION
    return admin_pb.SetInstrumentStateRequest(instrument="paper", state=auction, call_ns=10**9)


def _a_deposit() -> admin_pb.DepositRequest:
    ident = bytes(range(16))
    return admin_pb.DepositRequest(account="ann", request_id=ident, amount_nanos=5)
