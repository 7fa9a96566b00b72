"""The form of /v1/responses: whole answers, and streams of typed events with sequence numbers."""

from __future__ import annotations

from typing import Any, Final

from exchange.http.openai.bodies import Ask
from exchange.http.openai.endings import Ending, Usage
from exchange.http.openai.sse import EventStream
from exchange.v1 import job_service_pb2 as pb

_NS_PER_S: Final = 1_000_000_000
_PLACE: Final = {"output_index": 0, "content_index": 0}
"""There is one item with one part."""


class ResponseForm:
    """The form of /v1/responses.

    Args:
        ask: What was asked for.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._sequence = 0
        self._pieces: list[str] = []

    def whole(self, job: pb.Job, text: str, end: Ending) -> dict[str, Any]:
        """The answer in one piece."""
        complete = end.finish_reason == "stop"
        status = "completed" if complete else "incomplete"
        why = None if complete else {"reason": "max_output_tokens"}
        return {
            **self._response(job, status),
            "incomplete_details": why,
            "completed_at": job.end_time_ns // _NS_PER_S if complete else None,
            "output": [_item(job, status, [_part(text)])],
            "usage": _usage(end.usage),
            "exchange": end.exchange,
        }

    async def begin(self, stream: EventStream, job: pb.Job) -> None:
        """The first events: a response in progress, its item, the item's part."""
        response = self._response(job, "in_progress")
        await self._send(stream, "response.created", response=response)
        await self._send(stream, "response.in_progress", response=response)
        item = _item(job, "in_progress", [])
        await self._send(stream, "response.output_item.added", output_index=0, item=item)
        place = {"item_id": item["id"], **_PLACE}
        await self._send(stream, "response.content_part.added", **place, part=_part(""))

    async def piece(self, stream: EventStream, job: pb.Job, text: str) -> None:
        """A piece of the answer."""
        self._pieces.append(text)
        place = {"item_id": _item_id(job), **_PLACE}
        await self._send(stream, "response.output_text.delta", **place, delta=text, logprobs=[])

    async def end(self, stream: EventStream, job: pb.Job, end: Ending) -> None:
        """The last events; what it cost stands in the last one's response."""
        text = "".join(self._pieces)
        response = self.whole(job, text, end)
        place = {"item_id": _item_id(job), **_PLACE}
        await self._send(stream, "response.output_text.done", **place, text=text, logprobs=[])
        await self._send(stream, "response.content_part.done", **place, part=_part(text))
        (item,) = response["output"]
        await self._send(stream, "response.output_item.done", output_index=0, item=item)
        await self._send(stream, f"response.{response['status']}", response=response)

    async def fail(self, stream: EventStream, job: pb.Job, error: dict[str, Any]) -> None:
        """An error after the first event: nothing follows it."""
        told = {"code": error["code"], "message": error["message"]}
        response = {**self._response(job, "failed"), "error": told}
        await self._send(stream, "response.failed", response=response)

    def _response(self, job: pb.Job, status: str) -> dict[str, Any]:
        return {
            "id": f"resp_{job.job_id}",
            "object": "response",
            "created_at": job.create_time_ns // _NS_PER_S,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": self._ask.model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1,
            "truncation": "disabled",
            "usage": None,
            "user": None,
            **self._ask.echoed,
        }

    async def _send(self, stream: EventStream, kind: str, **fields: Any) -> None:
        await stream.send({"type": kind, "sequence_number": self._sequence, **fields}, kind)
        self._sequence += 1


def _item_id(job: pb.Job) -> str:
    return f"msg_{job.job_id}"


def _item(job: pb.Job, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": _item_id(job),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(used: Usage | None) -> dict[str, Any] | None:
    if used is None:
        return None
    return {
        "input_tokens": used.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": used.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used.prompt_tokens + used.completion_tokens,
    }
