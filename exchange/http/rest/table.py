"""The table of REST: which request makes which call of the API.

The parameters of a path fill fields of the method's request. What else the request needs comes
from the query of a GET or DELETE, and from the JSON body of a POST, which is the request message.
Names of instruments have slashes in them, so they stand in the query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from exchange.rpc.methods import METHODS, Method

_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One row.

    Attributes:
        verb: GET, POST or DELETE.
        path: With the names of its parameters in braces.
        call: The service and the method.
        within: Where a path's parameter is not the request's own field: the message it is in.
        by_uuid: The field that a path's parameter fills where it is a UUID: the client's own id.
        instead: Fields that the path stands in place of: two names of one thing could differ.
        key: The field that an Idempotency-Key header may fill; empty: the header is refused.
        key_needed: Whether a request without that field is refused, instead of given a fresh id.
        lines: Of a stream that is sent as lines instead of events: the field that has the lines.
    """

    verb: str
    path: str
    call: str
    within: Mapping[str, str] = field(default_factory=dict)
    by_uuid: str = ""
    instead: tuple[str, ...] = ()
    key: str = ""
    key_needed: bool = False
    lines: str = ""

    @property
    def method(self) -> Method:
        """The method that is called."""
        return METHODS[f"/exchange.v1.{self.call}"]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def in_path(self) -> frozenset[str]:
        """Paths of the request's fields that the URL's path says, or stands in place of."""
        said = map(self.field_of, self.parameters)
        return frozenset((*said, *self.instead, *filter(None, (self.by_uuid,))))

    def field_of(self, parameter: str) -> str:
        """The path of the request's field that a parameter of the URL's path fills."""
        outer = self.within.get(parameter)
        return f"{outer}.{parameter}" if outer else parameter


_ORDER: Final = {"order_id": "order"}
_ORDER_UUID: Final = "order.client_order_id"

ROUTES: Final = (
    # Jobs
    Route("POST", "/v1/jobs", "JobService/SubmitJob", key="client_job_id"),
    Route("GET", "/v1/jobs", "JobService/ListJobs"),
    Route("GET", "/v1/jobs/{job_id}", "JobService/GetJob", by_uuid="client_job_id"),
    Route("DELETE", "/v1/jobs/{job_id}", "JobService/CancelJob"),
    Route("POST", "/v1/jobs/{job_id}/cancel", "JobService/CancelJob"),
    Route("GET", "/v1/jobs/{job_id}/events", "JobService/WatchJob"),
    Route("GET", "/v1/jobs/{job_id}/receipt", "AccountService/GetReceipt", instead=("lease_id",)),
    Route("GET", "/v1/jobs/{job_id}/why", "JobService/ExplainJob"),
    # Orders
    Route("POST", "/v1/orders", "OrderService/PlaceOrder", key="order.client_order_id"),
    Route("GET", "/v1/orders", "OrderService/ListOrders"),
    Route("GET", "/v1/orders/history", "OrderService/ListOrderHistory"),
    Route("POST", "/v1/orders/cancel", "OrderService/CancelOrders"),
    Route(
        "GET",
        "/v1/orders/{order_id}",
        "OrderService/GetOrder",
        within=_ORDER,
        by_uuid=_ORDER_UUID,
    ),
    Route(
        "DELETE",
        "/v1/orders/{order_id}",
        "OrderService/CancelOrder",
        within=_ORDER,
        by_uuid=_ORDER_UUID,
    ),
    Route(
        "POST",
        "/v1/orders/{order_id}/replace",
        "OrderService/ReplaceOrder",
        within={"order_id": "replacement"},
    ),
    # The market
    Route("GET", "/v1/instruments", "MarketDataService/ListInstruments"),
    Route("GET", "/v1/books", "MarketDataService/GetBook"),
    Route("GET", "/v1/books/events", "MarketDataService/WatchBook"),
    Route("GET", "/v1/books/orders/events", "MarketDataService/WatchOrders"),
    Route("GET", "/v1/prices", "MarketDataService/ListBestPrices"),
    Route("GET", "/v1/prices/events", "MarketDataService/WatchBestPrices"),
    Route("GET", "/v1/fillable", "MarketDataService/ExplainOrder"),
    Route("GET", "/v1/trades", "MarketDataService/ListTrades"),
    Route("GET", "/v1/trades/events", "MarketDataService/WatchTrades"),
    Route("GET", "/v1/candles", "MarketDataService/ListCandles"),
    Route("GET", "/v1/index", "MarketDataService/ListHourlyIndex"),
    # The account
    Route("GET", "/v1/account", "AccountService/GetAccount"),
    Route("GET", "/v1/ledger", "AccountService/ListLedgerEntries"),
    Route("GET", "/v1/keys", "AccountService/ListKeys"),
    Route("GET", "/v1/receipts/{lease_id}", "AccountService/GetReceipt", instead=("job_id",)),
    # What the account is told
    Route("POST", "/v1/webhooks", "WebhookService/AddWebhook"),
    Route("GET", "/v1/webhooks", "WebhookService/ListWebhooks"),
    Route("DELETE", "/v1/webhooks/{webhook_id}", "WebhookService/RemoveWebhook"),
    Route("POST", "/v1/webhooks/{webhook_id}/test", "WebhookService/TestWebhook"),
    Route("POST", "/v1/alerts", "WebhookService/AddAlert"),
    Route("GET", "/v1/alerts", "WebhookService/ListAlerts"),
    Route("DELETE", "/v1/alerts/{alert_id}", "WebhookService/RemoveAlert"),
    # Workers
    Route("GET", "/v1/workers", "WorkerService/ListWorkers"),
    Route("POST", "/v1/workers/{worker_id}", "WorkerService/SetWorker", instead=("name",)),
    Route("GET", "/v1/workers/{worker_id}/why", "WorkerService/ExplainWorker", instead=("name",)),
    # The operator
    Route("POST", "/v1/admin/accounts", "AdminService/CreateAccount"),
    Route("GET", "/v1/admin/accounts", "AdminService/ListAccounts"),
    Route("POST", "/v1/admin/keys", "AdminService/CreateKey"),
    Route("POST", "/v1/admin/keys/revoke", "AdminService/RevokeKey"),
    Route("POST", "/v1/admin/deposits", "AdminService/Deposit", key="request_id", key_needed=True),
    Route(
        "POST", "/v1/admin/withdrawals", "AdminService/Withdraw", key="request_id", key_needed=True
    ),
    Route("POST", "/v1/admin/models", "AdminService/CreateModel"),
    Route("POST", "/v1/admin/instruments", "AdminService/CreateInstrument"),
    Route("POST", "/v1/admin/instruments/state", "AdminService/SetInstrumentState"),
    Route("POST", "/v1/admin/protections", "AdminService/SetProtections"),
    Route("POST", "/v1/admin/halts", "AdminService/SetAccountHalted"),
    Route("POST", "/v1/admin/limits", "AdminService/SetAccountLimits"),
    Route("POST", "/v1/admin/workers/{worker_id}", "AdminService/SetAnyWorker"),
    Route("GET", "/v1/admin/invariants", "AdminService/GetInvariants"),
    Route("GET", "/v1/admin/export", "AdminService/ExportLedger", lines="entries"),
)
"""All of them. What only streams both ways (`Trade`, `Session`) is not for HTTP."""
