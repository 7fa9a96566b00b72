"""The forms of /v1/chat/completions and /v1/completions: whole answers, and streams of chunks."""

from __future__ import annotations

from typing import Any, Final

from exchange.http.openai.bodies import Ask
from exchange.http.openai.endings import Ending, Usage
from exchange.http.openai.sse import EventStream
from exchange.v1 import job_service_pb2 as pb

DONE: Final = b"[DONE]"
_NS_PER_S: Final = 1_000_000_000


class ChatForm:
    """The form of /v1/chat/completions.

    Args:
        ask: What was asked for.
    """

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"
    prefix = "chatcmpl"

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def whole(self, job: pb.Job, text: str, end: Ending) -> dict[str, Any]:
        """The answer in one piece."""
        return {
            **self._head(job, self.kind),
            "choices": [self._choice(text, end.finish_reason)],
            "usage": usage(end.usage),
            "exchange": end.exchange,
        }

    async def begin(self, stream: EventStream, job: pb.Job) -> None:
        """The first event."""
        await self._send(stream, job, [self._delta({"role": "assistant", "content": ""})])

    async def piece(self, stream: EventStream, job: pb.Job, text: str) -> None:
        """A piece of the answer."""
        await self._send(stream, job, [self._delta({"content": text})])

    async def end(self, stream: EventStream, job: pb.Job, end: Ending) -> None:
        """The last events; what it cost stands in the last chunk."""
        last = self._delta({}, end.finish_reason)
        if self._ask.include_usage:
            await self._send(stream, job, [last])
            more = {"usage": usage(end.usage), "exchange": end.exchange}
            await self._send(stream, job, [], more)
        else:
            await self._send(stream, job, [last], {"exchange": end.exchange})
        await stream.send_raw(DONE)

    async def fail(self, stream: EventStream, _: pb.Job, error: dict[str, Any]) -> None:
        """An error after the first event: nothing follows it."""
        await stream.send({"error": error})

    def _choice(self, text: str, finish_reason: str) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": [],
        }
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}

    def _delta(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def _head(self, job: pb.Job, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self.prefix}-{job.job_id}",
            "object": kind,
            "created": job.create_time_ns // _NS_PER_S,
            "model": self._ask.model,
            "system_fingerprint": None,
        }

    async def _send(
        self,
        stream: EventStream,
        job: pb.Job,
        choices: list[dict[str, Any]],
        more: dict[str, Any] | None = None,
    ) -> None:
        chunk = {**self._head(job, self.chunk_kind), "choices": choices}
        if self._ask.include_usage:
            chunk["usage"] = None
        await stream.send(chunk | (more or {}))


class CompletionForm(ChatForm):
    """The form of /v1/completions: text without roles."""

    kind = chunk_kind = "text_completion"
    prefix = "cmpl"

    async def begin(self, stream: EventStream, job: pb.Job) -> None:
        """There is nothing to say before the first piece."""

    async def piece(self, stream: EventStream, job: pb.Job, text: str) -> None:
        """A piece of the answer."""
        await self._send(stream, job, [self._choice(text, None)])

    def _choice(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def _delta(self, _: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        return self._choice("", finish_reason)


def usage(used: Usage | None) -> dict[str, Any] | None:
    """Tokens as both forms have them."""
    if used is None:
        return None
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
    }
