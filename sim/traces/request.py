"""What every reader gives."""

from __future__ import annotations

from typing import Final, NamedTuple

REQUEST_TOKENS_MAX: Final = 1 << 19
"""Longer prompts and outputs are no requests but damage; the reader says so."""


class Request(NamedTuple):
    """One request of a trace.

    `arrival_ns` counts from the trace's first request, nanoseconds; tokens are counted as the
    source counted them, at least one each. `blocks` name the pieces of the prompt, of equal length
    but for the last: two prompts that begin with the same blocks begin with the same text. Most
    traces do not tell.
    """

    arrival_ns: int
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


class TraceFileError(ValueError):
    """A file cannot be read as a trace; the text is for people."""


def request(
    arrival_ns: int, input_tokens: int, output_tokens: int, blocks: tuple[int, ...] = ()
) -> Request:
    """A request, checked. An empty prompt or answer counts as one token.

    Raises:
        TraceFileError: a number is negative or too large.
    """
    if not (0 <= input_tokens <= REQUEST_TOKENS_MAX and 0 <= output_tokens <= REQUEST_TOKENS_MAX):
        raise TraceFileError(
            f"{input_tokens} prompt and {output_tokens} output tokens: "
            f"0 to {REQUEST_TOKENS_MAX} are possible"
        )
    return Request(arrival_ns, max(input_tokens, 1), max(output_tokens, 1), blocks)


def from_first(requests: list[Request]) -> list[Request]:
    """The requests in the order of their arrival, which then counts from the first one."""
    requests.sort()
    if not requests:
        return requests
    first_ns = requests[0].arrival_ns
    return [r._replace(arrival_ns=r.arrival_ns - first_ns) for r in requests]
