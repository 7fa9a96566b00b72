"""The OpenAI-compatible API: any client of it buys compute by changing its base URL."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
import structlog
from aiohttp import web

from exchange.http import errors, idempotency
from exchange.http.bodies import require_key
from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.http.openai import bodies, endings, models
from exchange.http.openai.bodies import Ask
from exchange.http.openai.budget import HEADER_PREFIX, NS_PER_MS, REMEDIES, read_budget
from exchange.http.openai.chat import ChatForm, CompletionForm
from exchange.http.openai.endings import Ending
from exchange.http.openai.responses import ResponseForm
from exchange.http.openai.runs import Run, Runs
from exchange.http.openai.sse import ClientGone, EventStream
from exchange.rpc.errors import RpcError
from exchange.v1 import account_service_pb2 as accounts_pb
from exchange.v1 import job_service_pb2 as pb

FINAL_STATUSES: Final = (402, 409)
"""Errors that no repetition mends: OpenAI's clients, which repeat some of them, are told so."""

KEY_HEADER: Final = "Idempotency-Key"
_GET_ACCOUNT: Final = "/exchange.v1.AccountService/GetAccount"
_log = structlog.get_logger(__name__)


class Form(Protocol):
    """The shape of an endpoint's answers, for one request."""

    def whole(self, job: pb.Job, text: str, end: Ending) -> dict[str, Any]:
        """The answer in one piece."""
        ...

    async def begin(self, stream: EventStream, job: pb.Job) -> None:
        """The first events."""
        ...

    async def piece(self, stream: EventStream, job: pb.Job, text: str) -> None:
        """A piece of the answer."""
        ...

    async def end(self, stream: EventStream, job: pb.Job, end: Ending) -> None:
        """The last events."""
        ...

    async def fail(self, stream: EventStream, job: pb.Job, error: dict[str, Any]) -> None:
        """An error after the first event."""
        ...


class OpenAiApi:
    """Chat completions, completions, responses, models.

    Args:
        calls: Make the calls of the API.
        default_values: By account, what an answer is worth where a request does not say,
            nano-dollars.
    """

    def __init__(self, calls: Calls, default_values: Mapping[str, int]) -> None:
        self._calls = calls
        self._default_values = default_values
        self._runs = Runs(calls)

    @property
    def lingering(self) -> int:
        """Jobs that wait for their client's retry."""
        return self._runs.lingering

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/completions", self._completion),
            web.post("/v1/responses", self._response),
            web.get("/v1/models", self._models),
            web.get("/v1/models/{name}", self._model),
        ]

    async def close(self) -> None:
        """Finish the cancels of jobs whose clients have gone."""
        await self._runs.close()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, bodies.chat, ChatForm)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, bodies.completion, CompletionForm)

    async def _response(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, bodies.response, ResponseForm)

    async def _models(self, request: web.Request) -> web.Response:
        return _json(await models.list_models(self._calls, _metadata(request)))

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _json(await models.get_model(self._calls, _metadata(request), name))

    # ---- one job ----

    async def _answer(
        self,
        request: web.Request,
        read: Callable[[dict[str, object]], Ask],
        form_of: Callable[[Ask], Form],
    ) -> web.StreamResponse:
        metadata = _metadata(request)
        await require_key(self._calls, metadata)
        for name in request.query:
            text = f"{name!r} belongs into the body: this address takes no query"
            raise ApiError(400, "FIELD_UNKNOWN", text, name)
        headers = _headers(request)
        ask = read(await bodies.read_object(request))
        key = headers.get(KEY_HEADER.lower())
        key = "" if key is None else idempotency.parse_key(key)
        submission = await self._submission(ask, headers, metadata)
        has_job = False
        try:
            async with self._runs.run(submission, metadata, key) as run:
                has_job = True
                if ask.stream:
                    return await self._stream(request, form_of(ask), run)
                return await self._whole(form_of(ask), run)
        except ApiError as error:
            # The job is over, or the key is used up.
            return _refused(error, is_final=True)
        except Exception as error:
            # With a key a retry comes to the same job; without one it is another, with a bill and
            # a deadline of its own.
            has_job = has_job or endings.may_have_bought(error)
            return _refused(_known(error), is_final=has_job and not key)

    async def _submission(
        self, ask: Ask, headers: Mapping[str, str], metadata: Mapping[str, str]
    ) -> pb.SubmitJobRequest:
        """The job that a request asks for, without a client id.

        Raises:
            ApiError: 400: its budget cannot be read, or there is none.
            RpcError: its account cannot be looked at.
        """
        budget = read_budget(ask.exchange, headers)
        if not budget.is_stated:
            value = await self._default_value(metadata)
            if not value:
                raise ApiError(400, "VALUE_MISSING", REMEDIES, "exchange")
            budget = msgspec.structs.replace(budget, value=value)
        ask.input.answer_value_nanos = budget.answer_value
        return pb.SubmitJobRequest(
            model=ask.model,
            tier=budget.tier,
            instrument=budget.instrument,
            input=ask.input,
            quantity_mflop=budget.max_compute,
            value_nanos=budget.value,
            limit_nanos=budget.limit,
            max_cost_nanos=budget.max_cost,
            deadline_ns=budget.deadline_ms * NS_PER_MS,
        )

    async def _default_value(self, metadata: Mapping[str, str]) -> int:
        """What an answer is worth to this account where nothing is said; 0: no default."""
        if not self._default_values:
            return 0
        answer = await self._calls.unary(_GET_ACCOUNT, accounts_pb.GetAccountRequest(), metadata)
        return self._default_values.get(answer.account.name, 0)

    async def _whole(self, form: Form, run: Run) -> web.Response:
        pieces: list[str] = []
        async with contextlib.aclosing(run.output()) as output:
            async for piece in output:
                if piece is None:
                    pieces.clear()
                else:
                    pieces.append(piece)
        end = await endings.ending(self._calls, run)
        return _json(form.whole(run.job, "".join(pieces), end), endings.headers(run.job))

    async def _stream(self, request: web.Request, form: Form, run: Run) -> web.StreamResponse:
        """The answer as it comes. Errors before its first piece have a status of their own."""
        stream: EventStream | None = None
        try:
            async with contextlib.aclosing(run.output()) as output:
                async for piece in output:
                    if piece is None:
                        if stream is not None:
                            raise endings.voided(run.job)
                        continue
                    if stream is None:
                        stream = EventStream(request, endings.headers(run.job))
                        await form.begin(stream, run.job)
                    await form.piece(stream, run.job, piece)
            end = await endings.ending(self._calls, run)
            if stream is None:
                stream = EventStream(request, endings.headers(run.job))
                await form.begin(stream, run.job)
            await form.end(stream, run.job, end)
            await stream.close()
        except ClientGone:
            assert stream is not None
        except Exception as error:
            if stream is None:
                raise
            with contextlib.suppress(ClientGone):
                await form.fail(stream, run.job, _told(error))
                await stream.close()
        return stream.response


def _metadata(request: web.Request) -> dict[str, str]:
    """What calls send to be known.

    Raises:
        ApiError: 401: the request has no key; others are the exchange's to refuse.
    """
    authorization = request.headers.get("Authorization", "")
    if not authorization.startswith("Bearer "):
        text = "an API key is missing: send the header Authorization: Bearer flx_..."
        raise ApiError(401, "KEY_MISSING", text)
    return {"authorization": authorization}


def _headers(request: web.Request) -> dict[str, str]:
    """The headers of a request, with names in lower case.

    Raises:
        ApiError: 400: one that is for us is there twice, and might say two things.
    """
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        known = name.lower()
        if known in found and (known.startswith(HEADER_PREFIX) or known == KEY_HEADER.lower()):
            raise ApiError(400, "FIELD_INVALID", f"{name} is given more than once", name)
        found[known] = value
    return found


def _json(body: dict[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _refused(error: ApiError, *, is_final: bool) -> web.Response:
    """An error as a response; a final one tells no client to come back by itself."""
    if not is_final and error.status not in FINAL_STATUSES:
        return errors.response(error)
    error.retry_after_ms = 0
    return errors.response(error, {"X-Should-Retry": "false"})


def _known(error: Exception) -> ApiError:
    """What a client is told of an error; the log tells what nobody expected."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RpcError):
        return endings.refusal(error)
    request_id = secrets.token_hex(8)
    _log.error("an answer failed", request_id=request_id, exc_info=error)
    text = f"something is wrong with the exchange; its log tells more under {request_id}"
    return ApiError(500, "INTERNAL", text)


def _told(error: Exception) -> dict[str, Any]:
    """An error as a stream tells it."""
    told: dict[str, Any] = msgspec.json.decode(errors.content(_known(error)))["error"]
    return told
