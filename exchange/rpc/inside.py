"""What the exchange's own doors ask of it beside the API: no caller from outside reaches these.

gRPC lets in the methods of `exchange.rpc.methods.METHODS` and no others; HTTP names its methods
itself. So these need no secret of their own, in one process as over the link between two.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt64Value

from exchange.rpc import auth
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.drain import Drain
from exchange.rpc.errors import draining
from exchange.rpc.methods import METHODS, Method

KEYS: Final = "flopex.internal.Keys"
HOLD_KEY: Final = f"/{KEYS}/Hold"
"""Says whose the caller's key is, and ends once it is revoked."""
JOBS: Final = "flopex.internal.Jobs"
ABANDON_JOB: Final = f"/{JOBS}/Abandon"
"""Cancels a job that the gateway submitted and nobody reads: its key may be revoked by now."""
FOLLOW_JOB: Final = f"/{JOBS}/Follow"
"""WatchJob for a gateway: the job ends soon after its last reader (`exchange.rpc.followed`)."""
SUBMIT_JOB: Final = f"/{JOBS}/Submit"
"""SubmitJob for a gateway, which is to follow the job at once: the same holds from then on."""
WATCH_JOB: Final = "/exchange.v1.JobService/WatchJob"
_MARKET_DATA: Final = "exchange.v1.MarketDataService"
PUBLIC: Final = "flopex.internal.MarketData"


def public(path: str) -> str:
    """The twin of a stream of MarketDataService that needs no key.

    It is for one who hands it on to callers whose keys he has checked himself.
    """
    return path.replace(_MARKET_DATA, PUBLIC)


def _method(
    service: str,
    name: str,
    request: type[Message],
    response: type[Message],
    *,
    responses_stream: bool = False,
    needs_key: bool = True,
) -> Method:
    return Method(
        service=service,
        name=name,
        requests_stream=False,
        responses_stream=responses_stream,
        request_class=request,
        response_class=response,
        parse=request.FromString,
        parse_response=response.FromString,
        needs_key=needs_key,
    )


INSIDE: Final[Mapping[str, Method]] = {
    HOLD_KEY: _method(KEYS, "Hold", Empty, UInt64Value, responses_stream=True),
    ABANDON_JOB: _method(JOBS, "Abandon", UInt64Value, Empty, needs_key=False),
    SUBMIT_JOB: replace(METHODS["/exchange.v1.JobService/SubmitJob"], service=JOBS, name="Submit"),
    FOLLOW_JOB: replace(METHODS[WATCH_JOB], service=JOBS, name="Follow"),
    **{
        public(method.path): replace(method, service=PUBLIC, needs_key=False)
        for method in METHODS.values()
        if method.service == _MARKET_DATA and method.responses_stream
    },
}
"""Every such method by its path."""


class KeyServicer:
    """Tells doors whose a key is, and when it ends."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    async def Hold(self, request: Empty, context: Context) -> AsyncIterator[UInt64Value]:
        """The account's id; then nothing, until the key is revoked or the exchange drains."""
        yield UInt64Value(value=auth.caller(context).account_id)
        await self._drain.wait()
        raise draining()
