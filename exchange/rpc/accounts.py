"""AccountService: what an account's owner may know of it."""

from __future__ import annotations

from exchange.core.commands import Role
from exchange.core.events import ReceiptRefused, ReceiptSettled
from exchange.core.lease import Lease
from exchange.core.reasons import Reason
from exchange.metering.receipts import parse_signed_bytes
from exchange.readmodel import queries
from exchange.readmodel.queries import NEWEST
from exchange.rpc import auth
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.convert import accounts, enums, paging
from exchange.rpc.errors import refusal
from exchange.rpc.services import Services
from exchange.v1 import account_service_pb2 as pb


class AccountServicer:
    """The caller's own account."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def GetAccount(
        self, request: pb.GetAccountRequest, context: Context
    ) -> pb.GetAccountResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        core = self._services.core
        account_id = request.account_id or caller.account_id
        if account_id != caller.account_id:
            caller.require(Role.OPERATOR, Role.READER)
        found = core.accounts.get(account_id)
        if found is None:
            raise refusal(
                Reason.UNKNOWN_ACCOUNT, f"no account {account_id}", {"account_id": account_id}
            )
        return pb.GetAccountResponse(account=accounts.account(core, found))

    async def ListLedgerEntries(
        self, request: pb.ListLedgerEntriesRequest, context: Context
    ) -> pb.ListLedgerEntriesResponse:
        """See the service's definition."""
        account_id = auth.caller(context).account_id
        size = paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token) or NEWEST
        answer = await self._services.ask(
            lambda database: queries.account_entries(database, account_id, size + 1, before)
        )
        page, last = paging.cut(answer.found, size)
        return pb.ListLedgerEntriesResponse(
            entries=[accounts.entry(entry) for entry in page],
            next_page_token=paging.encode_token(last.number if last else 0),
            sequence=answer.sequence,
        )

    async def GetReceipt(
        self, request: pb.GetReceiptRequest, context: Context
    ) -> pb.GetReceiptResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        core = self._services.core
        lease_id = request.lease_id
        if not lease_id:
            job = core.jobs.get(request.job_id)
            lease_id = job.lease_id if job is not None else 0
        lease = core.leases.get(lease_id)
        concerned = lease is not None and (
            caller.sees_all or caller.account_id in (lease.account_id, lease.seller_account_id)
        )
        if lease is None or not concerned:
            raise refusal(Reason.UNKNOWN_LEASE, "no lease of yours is remembered by this id")
        return pb.GetReceiptResponse(receipt=await self._receipt(lease))

    async def _receipt(self, lease: Lease) -> pb.StoredReceipt:
        core = self._services.core
        stored = await self._services.job_blobs.receipt(lease.lease_id)
        if stored is None or not _is_of(stored[0], lease):
            raise refusal(
                Reason.UNKNOWN_LEASE, f"lease {lease.lease_id} has no receipt", {"part": "receipt"}
            )
        instrument = core.instruments[lease.instrument_id]
        worker = core.workers[lease.worker_id]
        result = lease.first_result
        receipt = pb.StoredReceipt(
            lease_id=lease.lease_id,
            job_id=lease.job_id,
            worker=worker.name,
            public_key=worker.public_key,
            signed_bytes=stored[0],
            signature=stored[1],
            flops=lease.flops,
            price_nanos=lease.price_nanos,
            billed_nanos=lease.billed_nanos,
            accepted=isinstance(result, ReceiptSettled),
            model_card=core.models[instrument.terms.model_id].card_bytes,
        )
        if isinstance(result, ReceiptSettled):
            receipt.cause = enums.stop_cause(result.cause)
        elif isinstance(result, ReceiptRefused):
            receipt.reason = enums.reason(result.reason)
        return receipt

    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:
        """See the service's definition."""
        account_id = auth.caller(context).account_id
        keys = self._services.core.keys.items()
        found = [accounts.key(h, key) for h, key in keys if key.account_id == account_id]
        return pb.ListKeysResponse(keys=found)


def _is_of(signed: bytes, lease: Lease) -> bool:
    """Whether the signed bytes of a receipt speak of this lease.

    After a restore the journal goes on from an earlier point than the receipts do, and gives the
    same lease ids again, under other fencing tokens.
    """
    body = parse_signed_bytes(signed)
    return lease.has_fence(body.fence_epoch, body.fence_sequence)
