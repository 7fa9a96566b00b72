"""The caller's own account: money, receipts, keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from exchange.client.account_types import (
    Account,
    Key,
    LedgerEntry,
    Receipt,
    account_from,
    entry_from,
    receipt_from,
)
from exchange.client.connection import PAGE_SIZE, Connection
from exchange.v1 import account_service_pb2 as pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub


class AsyncAccounts:
    """The caller's account. Reached as `client.account`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, account_id: int = 0, *, timeout_s: float | None = None) -> Account:
        """Balances, positions, limits.

        Args:
            account_id: Another account's, for keys with the role operator or reader.
            timeout_s: Seconds.

        Raises:
            PermissionDenied: the account is another's.
        """
        request = pb.GetAccountRequest(account_id=account_id)
        stub = self._connection.stub(AccountServiceStub)
        answer = await self._connection.call(stub.GetAccount, request, timeout_s=timeout_s)
        return account_from(answer.account)

    def ledger(self, *, limit: int | None = None) -> AsyncIterator[LedgerEntry]:
        """Ledger entries of the account, newest first; pages are fetched as they are needed.

        Args:
            limit: At most this many.
        """

        async def page(token: str) -> tuple[Sequence[LedgerEntry], str]:
            request = pb.ListLedgerEntriesRequest(
                page_size=min(limit or PAGE_SIZE, PAGE_SIZE), page_token=token
            )
            stub = self._connection.stub(AccountServiceStub)
            answer = await self._connection.call(stub.ListLedgerEntries, request)
            return [entry_from(e) for e in answer.entries], answer.next_page_token

        return self._connection.walk(page, limit)

    async def receipt(
        self, *, job_id: int = 0, lease_id: int = 0, timeout_s: float | None = None
    ) -> Receipt:
        """The receipt of a lease that the caller bought or sold.

        Args:
            job_id: The job whose last receipt is wanted; or
            lease_id: the lease.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such lease of the caller's, or it has no receipt.
            ValueError: not exactly one of the two was given.
        """
        if bool(job_id) == bool(lease_id):
            raise ValueError("give either job_id or lease_id")
        request = pb.GetReceiptRequest(job_id=job_id, lease_id=lease_id)
        stub = self._connection.stub(AccountServiceStub)
        answer = await self._connection.call(stub.GetReceipt, request, timeout_s=timeout_s)
        return receipt_from(answer.receipt)

    async def keys(self, *, timeout_s: float | None = None) -> tuple[Key, ...]:
        """The account's API keys, without their secrets."""
        stub = self._connection.stub(AccountServiceStub)
        request = pb.ListKeysRequest()
        answer = await self._connection.call(stub.ListKeys, request, timeout_s=timeout_s)
        return tuple(Key(k.key_id, k.label, tuple(k.roles)) for k in answer.keys)
