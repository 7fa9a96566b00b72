"""From messages or a prompt to tokens, so that nobody's text can pass for the template's marks.

The template is rendered with stand-ins for the messages' text. Where it holds special tokens, such
as the end of a turn, their ids are taken; all else, the messages' text included, is tokenised as
plain text. What somebody types is then never a mark, and other text becomes the tokens that the
usual way gives: the library, too, cuts a prompt at its special tokens before it looks at the rest.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any, Final, Protocol

STAND_IN_BYTES: Final = 16
PROBE: Final = (("system", "a"), ("user", "b"), ("assistant", "c"))
"""A conversation in which the template shows all of its marks."""


class Post(Protocol):
    """Asks the library: a path and a body, answered by a JSON object."""

    def __call__(self, path: str, body: dict[str, Any], /) -> dict[str, Any]:
        """The answer."""
        ...


class PromptReader:
    """Applies the model's own chat template and tokenises.

    Raises:
        ValueError: the template has no special token, so that nothing would part the turns.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._marks = self._find_marks()
        if not self._marks:
            raise ValueError("the chat template holds no special token")
        longest_first = sorted(self._marks, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def conversation(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Tokens of a conversation of (role, text)."""
        stand_in = secrets.token_hex(STAND_IN_BYTES)
        rendered = self._render(
            [(role, f"{stand_in}:{i}:") for i, (role, _) in enumerate(messages)]
        )
        standing = re.compile(f"{stand_in}:([0-9]+):")
        parts: list[str | int] = []
        for part in self._cut.split(rendered):
            if part in self._marks:
                parts.append(self._marks[part])
            elif part:
                parts.append(standing.sub(lambda found: messages[int(found[1])][1], part))
        return self._tokens(parts, special=False)

    def text(self, prompt: str) -> list[int]:
        """Tokens of a prompt that is its own template: special tokens in it are what they say."""
        return self._tokens(prompt, special=True)

    def _render(self, messages: Sequence[tuple[str, str]]) -> str:
        turns = [{"role": role, "content": content} for role, content in messages]
        rendered: str = self._post("/apply-template", {"messages": turns})["prompt"]
        return rendered

    def _tokens(self, content: str | list[str | int], *, special: bool) -> list[int]:
        body = {"content": content, "add_special": True, "parse_special": special}
        tokens: list[int] = self._post("/tokenize", body)["tokens"]
        return tokens

    def _find_marks(self) -> dict[str, int]:
        """The special tokens of the template, with their ids."""
        body = {"content": self._render(PROBE), "parse_special": True, "with_pieces": True}
        tokens = self._post("/tokenize", body)["tokens"]
        found = {token["piece"]: token["id"] for token in tokens}
        return {
            piece: number
            for piece, number in found.items()
            if isinstance(piece, str) and self._tokens([piece], special=False) != [number]
        }
