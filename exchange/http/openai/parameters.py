"""Which of OpenAI's parameters are used, which change nothing, and which are refused, and why.

No parameter is ignored silently: one that would change the answer and is not supported is refused
by its name, unless its value asks for what is done anyway. `docs/reference/openai.md` has these
tables for people; a test compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from exchange.http.errors import ApiError


class Only(NamedTuple):
    """A parameter that may have only values that ask for what is done anyway.

    Attributes:
        values: Those; null is always one of them.
        why: Why others are refused, a sentence that goes on from "PARAMETER is not supported: ".
    """

    values: tuple[object, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one kind of object.

    Attributes:
        used: Those that are.
        harmless: Those that change nothing in the answer, whatever they say.
        limited: Those that may have certain values only.
    """

    used: frozenset[str]
    harmless: frozenset[str]
    limited: Mapping[str, Only]

    def read(
        self, given: Mapping[str, object], spell: Callable[[str], str] = str
    ) -> dict[str, object]:
        """What is used of an object; null counts as not given.

        Args:
            given: The object.
            spell: How errors name its parameters.

        Raises:
            ApiError: 400, with the name of the parameter that is not supported or not known.
        """
        found = {}
        for name, value in given.items():
            only = self.limited.get(name)
            if only is not None:
                if value is not None and not _is_one_of(value, only.values):
                    raise unsupported(spell(name), only.why)
            elif name in self.used:
                if value is not None:
                    found[name] = value
            elif name not in self.harmless:
                text = f"{spell(name)} is not a parameter that this exchange knows"
                raise ApiError(400, "FIELD_UNKNOWN", text, spell(name))
        return found


def unsupported(name: str, why: str) -> ApiError:
    """The refusal of a parameter or of its value; raise it."""
    return ApiError(400, "FIELD_UNSUPPORTED", f"{name} is not supported: {why}", name)


def _is_one_of(value: object, values: tuple[object, ...]) -> bool:
    """Equality as JSON has it: true is not 1."""
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in values)


_ONE_ANSWER: Final = "a job has one answer; send the request several times"
_NO_TOOLS: Final = "the models here call no tools"
_PLAIN: Final = "the models here write plain text, and no grammar holds them to a form"
_SAMPLING: Final = "sampling knows temperature and seed"
_NO_LOGPROBS: Final = "workers do not tell the probabilities of tokens"
_NOT_STORED: Final = "answers are not stored for retrieval; leave it out or send false"
_TIER: Final = "say the tier as exchange.tier"
_NO_REASONING: Final = "say what more thinking is worth as exchange.answer_value"
_TEXT_ONLY: Final = "text is all that goes in and comes out"
_NO_STOP: Final = "an answer ends where the model ends it, or at the most tokens"
_NO_SEARCH: Final = "the models here search nothing"
_NO_MODERATION: Final = "nothing here moderates"

_SAMPLING_LIMITS: Final = {
    "frequency_penalty": Only((0,), _SAMPLING),
    "presence_penalty": Only((0,), _SAMPLING),
    "logit_bias": Only(({},), _SAMPLING),
    "top_p": Only((1,), _SAMPLING),
    "n": Only((1,), _ONE_ANSWER),
    "stop": Only(([],), _NO_STOP),
}
_TOOL_LIMITS: Final = {
    "tools": Only(([],), _NO_TOOLS),
    "tool_choice": Only(("none", "auto"), _NO_TOOLS),
}

CHAT: Final = Parameters(
    used=frozenset(
        {
            "exchange",
            "max_completion_tokens",
            "max_tokens",
            "messages",
            "model",
            "seed",
            "stream",
            "stream_options",
            "temperature",
        }
    ),
    harmless=frozenset(
        {
            "metadata",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "user",
        }
    ),
    limited={
        **_SAMPLING_LIMITS,
        **_TOOL_LIMITS,
        "audio": Only((), _TEXT_ONLY),
        "function_call": Only(("none", "auto"), _NO_TOOLS),
        "functions": Only(([],), _NO_TOOLS),
        "logprobs": Only((False,), _NO_LOGPROBS),
        "modalities": Only((["text"],), _TEXT_ONLY),
        "moderation": Only((), _NO_MODERATION),
        "prediction": Only((), "nothing is predicted"),
        "reasoning_effort": Only((), _NO_REASONING),
        "response_format": Only(({"type": "text"},), _PLAIN),
        "service_tier": Only(("auto", "default"), _TIER),
        "store": Only((False,), _NOT_STORED),
        "top_logprobs": Only((0,), _NO_LOGPROBS),
        "verbosity": Only(("medium",), "the models here have no such setting"),
        "web_search_options": Only((), _NO_SEARCH),
    },
)
COMPLETIONS: Final = Parameters(
    used=frozenset(
        {
            "exchange",
            "max_tokens",
            "model",
            "prompt",
            "seed",
            "stream",
            "stream_options",
            "temperature",
        }
    ),
    harmless=frozenset({"user"}),
    limited={
        **_SAMPLING_LIMITS,
        "best_of": Only((1,), _ONE_ANSWER),
        "echo": Only((False,), "the prompt is not sent back"),
        "logprobs": Only((), _NO_LOGPROBS),
        "suffix": Only(("",), "text is written at the end only"),
    },
)
RESPONSES: Final = Parameters(
    used=frozenset(
        {
            "exchange",
            "input",
            "instructions",
            "max_output_tokens",
            "metadata",
            "model",
            "seed",
            "stream",
            "temperature",
        }
    ),
    harmless=frozenset(
        {
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "stream_options",
            "user",
        }
    ),
    limited={
        **_TOOL_LIMITS,
        "access_programs": Only((), "there are none"),
        "background": Only((False,), "watch the job instead: /v1/jobs"),
        "background_options": Only((), "watch the job instead: /v1/jobs"),
        "context_management": Only(([],), "a context that is too long is refused"),
        "conversation": Only((), _NOT_STORED),
        "image": Only((), _TEXT_ONLY),
        "include": Only(([],), "there is nothing more to include"),
        "max_tool_calls": Only((), _NO_TOOLS),
        "moderation": Only((), _NO_MODERATION),
        "previous_response_id": Only((), _NOT_STORED),
        "prompt": Only((), "prompt templates are not stored; send the text as input"),
        "reasoning": Only(({},), _NO_REASONING),
        "service_tier": Only(("auto", "default"), _TIER),
        "store": Only((False,), _NOT_STORED),
        "text": Only(({}, {"format": {"type": "text"}}), _PLAIN),
        "top_logprobs": Only((0,), _NO_LOGPROBS),
        "top_p": Only((1,), _SAMPLING),
        "truncation": Only(("disabled",), "a context that is too long is refused"),
    },
)
MESSAGE: Final = Parameters(
    used=frozenset({"content", "role"}),
    harmless=frozenset(),
    limited={
        "annotations": Only(([],), _TEXT_ONLY),
        "audio": Only((), _TEXT_ONLY),
        "function_call": Only((), _NO_TOOLS),
        "name": Only((), "say in the text who speaks"),
        "refusal": Only((), "a refusal is no text of a conversation"),
        "tool_call_id": Only((), _NO_TOOLS),
        "tool_calls": Only(([],), _NO_TOOLS),
    },
)
"""Of one message of a chat."""
ITEM: Final = Parameters(
    used=frozenset({"content", "role", "type"}),
    harmless=frozenset({"id", "phase", "status"}),
    limited={},
)
"""Of one item of the input of a response: an output item of an earlier one can be sent back."""
PART: Final = Parameters(
    used=frozenset({"text", "type"}),
    harmless=frozenset({"prompt_cache_breakpoint"}),
    limited={
        "annotations": Only(([],), _TEXT_ONLY),
        "logprobs": Only(([],), _NO_LOGPROBS),
    },
)
"""Of one part of a content."""
STREAM_OPTIONS: Final = Parameters(
    used=frozenset({"include_usage"}),
    harmless=frozenset({"include_obfuscation"}),
    limited={},
)
