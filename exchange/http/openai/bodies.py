"""Bodies of requests in OpenAI's form, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp import web

from exchange.http.bodies import read_json
from exchange.http.errors import ApiError
from exchange.http.openai import parameters
from exchange.http.openai.parameters import Parameters, unsupported
from exchange.v1 import job_service_pb2 as pb

TOKENS_DEFAULT: Final = 256
"""Most tokens of an answer where nothing is said."""
COMPLETION_TOKENS_DEFAULT: Final = 16
"""The same of /v1/completions, as OpenAI has it."""
MESSAGES_MAX: Final = 1_000
"""Messages of a conversation, as over gRPC, and parts of all of them: read before the key is."""
TEMPERATURE_MAX: Final = 2
ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
"""Roles of messages as jobs know them."""
TEXT_PARTS: Final = ("text", "input_text", "output_text")
_UINT64_MAX: Final = (1 << 64) - 1
_UINT32_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request asks for, in whichever form it came.

    Attributes:
        model: Model's name.
        input: The work.
        exchange: The budget as it stands in the body; None where there is none.
        stream: Whether the answer is to come as it is written.
        include_usage: Whether a stream is to end with what was used.
        echoed: What the answer repeats of the request, by name.
    """

    model: str
    input: pb.JobInput
    exchange: object = None
    stream: bool = False
    include_usage: bool = False
    echoed: Mapping[str, object] = field(default_factory=dict)


class _Common(msgspec.Struct, kw_only=True):
    model: str
    exchange: Any = None
    stream: bool = False
    stream_options: dict[str, Any] = {}
    temperature: float = 0
    seed: int = 0


class _Chat(_Common, kw_only=True):
    messages: list[Any]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _Completion(_Common, kw_only=True):
    prompt: Any
    max_tokens: int = COMPLETION_TOKENS_DEFAULT


class _Response(_Common, kw_only=True):
    input: Any
    instructions: str = ""
    max_output_tokens: int = TOKENS_DEFAULT
    metadata: dict[str, str] = {}


async def read_object(request: web.Request) -> dict[str, object]:
    """The JSON object of a request's body.

    Raises:
        ApiError: it is something else, or does not come as `read_json` wants it.
    """
    found = await read_json(request)
    if not isinstance(found, dict):
        raise ApiError(400, "BODY_MALFORMED", "the body must be a JSON object")
    return found


def chat(body: dict[str, object]) -> Ask:
    """What a request of /v1/chat/completions asks for; raises `ApiError` (400)."""
    found = _convert(parameters.CHAT, body, _Chat)
    if found.max_tokens is not None and found.max_completion_tokens is not None:
        what = "max_tokens is the old name of max_completion_tokens: send one of them"
        raise ApiError(400, "FIELD_INVALID", what, "max_tokens")
    name = "max_tokens" if found.max_completion_tokens is None else "max_completion_tokens"
    tokens = getattr(found, name)
    job_input = _input(found, TOKENS_DEFAULT if tokens is None else tokens, name)
    job_input.messages.extend(_messages(found.messages, "messages", parameters.MESSAGE))
    return _ask(found, job_input)


def completion(body: dict[str, object]) -> Ask:
    """What a request of /v1/completions asks for; raises `ApiError` (400)."""
    found = _convert(parameters.COMPLETIONS, body, _Completion)
    prompt = found.prompt
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise unsupported("prompt", "it must be one text, neither several nor tokens")
    job_input = _input(found, found.max_tokens, "max_tokens")
    job_input.prompt = _text(prompt, "prompt")
    return _ask(found, job_input)


def response(body: dict[str, object]) -> Ask:
    """What a request of /v1/responses asks for; raises `ApiError` (400)."""
    found = _convert(parameters.RESPONSES, body, _Response)
    job_input = _input(found, found.max_output_tokens, "max_output_tokens")
    if found.instructions:
        text = _text(found.instructions, "instructions")
        job_input.messages.add(role="system", content=text)
    if isinstance(found.input, str):
        job_input.messages.add(role="user", content=_text(found.input, "input"))
    else:
        job_input.messages.extend(_messages(found.input, "input", parameters.ITEM))
    for name, text in found.metadata.items():
        _text(name + text, "metadata")
    echoed = {
        "instructions": found.instructions or None,
        "max_output_tokens": found.max_output_tokens,
        "metadata": found.metadata,
        "temperature": found.temperature,
    }
    return _ask(found, job_input, echoed)


def _convert(known: Parameters, body: Mapping[str, object], kind: type[Any]) -> Any:
    used = known.read(body)
    for name in kind.__struct_fields__:
        if name in ("model", "messages", "prompt", "input") and name not in used:
            raise ApiError(400, "FIELD_MISSING", f"{name} is missing", name)
    try:
        return msgspec.convert(used, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`") or None
        raise ApiError(400, "FIELD_INVALID", f"{name}: {what}", name) from error


def _ask(found: Any, job_input: pb.JobInput, echoed: dict[str, object] | None = None) -> Ask:
    options = parameters.STREAM_OPTIONS.read(found.stream_options, "stream_options.{}".format)
    include_usage = options.get("include_usage", False)
    if not isinstance(include_usage, bool):
        what = "stream_options.include_usage must be true or false"
        raise ApiError(400, "FIELD_INVALID", what, "stream_options.include_usage")
    return Ask(
        model=_text(found.model, "model"),
        input=job_input,
        exchange=found.exchange,
        stream=found.stream,
        include_usage=include_usage,
        echoed=echoed or {},
    )


def _input(found: Any, tokens: int, tokens_name: str) -> pb.JobInput:
    if not 0 < tokens <= _UINT32_MAX:
        what = f"{tokens_name} must be at least 1 and no more than an answer may have"
        raise ApiError(400, "FIELD_INVALID", what, tokens_name)
    if not 0 <= found.seed <= _UINT64_MAX:
        raise ApiError(400, "FIELD_INVALID", "seed must lie between 0 and 2^64 - 1", "seed")
    milli = found.temperature * 1_000
    if not 0 <= found.temperature <= TEMPERATURE_MAX or abs(milli - round(milli)) > 1e-6:
        what = f"temperature must lie between 0 and {TEMPERATURE_MAX}, in steps of 0.001"
        raise ApiError(400, "FIELD_INVALID", what, "temperature")
    return pb.JobInput(output_tokens_max=tokens, seed=found.seed, temperature_milli=round(milli))


def _messages(given: object, at: str, known: Parameters) -> list[pb.ChatMessage]:
    if not isinstance(given, list):
        raise ApiError(400, "FIELD_INVALID", f"{at} must be an array of messages", at)
    if not given:
        raise ApiError(400, "FIELD_INVALID", f"{at} must not be empty", at)
    contents = (message.get("content") for message in given if isinstance(message, dict))
    parts = sum(len(content) for content in contents if isinstance(content, list))
    if max(len(given), parts) > MESSAGES_MAX:
        what = f"{at} must have at most {MESSAGES_MAX} messages, and as many parts in all"
        raise ApiError(400, "FIELD_INVALID", what, at)
    return [_message(message, f"{at}[{i}]", known) for i, message in enumerate(given)]


def _message(given: object, at: str, known: Parameters) -> pb.ChatMessage:
    if not isinstance(given, dict):
        raise ApiError(400, "FIELD_INVALID", f"{at} must be an object", at)
    if given.get("type", "message") != "message":
        raise unsupported(f"{at}.type", f"{given['type']!r}: only messages are taken")
    found = known.read(given, (at + ".{}").format)
    role = found.get("role")
    if not isinstance(role, str) or role not in ROLES:
        what = f"{at}.role must be one of {', '.join(ROLES)}, not {role!r}"
        raise ApiError(400, "FIELD_INVALID", what, f"{at}.role")
    return pb.ChatMessage(role=ROLES[role], content=_content(found.get("content"), f"{at}.content"))


def _content(given: object, at: str) -> str:
    """A text, or the texts of its parts one after another."""
    if isinstance(given, str):
        return _text(given, at)
    if not isinstance(given, list):
        raise ApiError(400, "FIELD_INVALID", f"{at} must be text, or an array of parts", at)
    return "".join(_part(part, f"{at}[{i}]") for i, part in enumerate(given))


def _part(given: object, at: str) -> str:
    if not isinstance(given, dict):
        raise ApiError(400, "FIELD_INVALID", f"{at} must be an object", at)
    if given.get("type") not in TEXT_PARTS:
        raise unsupported(f"{at}.type", f"{given.get('type')!r}: only text is taken")
    found = parameters.PART.read(given, (at + ".{}").format)
    if not isinstance(found.get("text"), str):
        raise ApiError(400, "FIELD_INVALID", f"{at}.text must be text", f"{at}.text")
    return _text(str(found["text"]), f"{at}.text")


def _text(text: str, at: str) -> str:
    """The text, where UTF-8 can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ApiError(400, "FIELD_INVALID", f"{at} is not valid Unicode", at) from error
    return text
