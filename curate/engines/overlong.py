"""Prompts that are longer than a model's window: how that is said, and how they are cut.

Nothing is cut unless the pipeline says so (`cut_prompts`): the call then has the status `too_long`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from curate.engines.contract import Message

MOST_CUTS = 6  # a text's tokens are known only once it is cut, so one cut may not be enough
_MARK = "\n[...]\n"
_SHORTEST = 80  # characters that are left of a text
_SPARE = 0.97  # of what should fit: tokens are not spread evenly over characters

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|context (?:length|size|window)"
    r"|maximum model length|prompt is too long"
    r"|(?:prompt|input|messages)\b[^.]{0,60}\b(?:too long|longer than|exceeds?)\b",
    re.I,
)
_LIMIT_TOO_LARGE = re.compile(r"max(?:_completion|_new)?_tokens\b.{0,60}too large", re.I | re.S)
_WINDOW = re.compile(
    r"(?:context (?:length|size|window)|maximum model length|n_ctx)\D{0,30}(\d[\d,]*)"
    r"|> *(\d[\d,]*) maximum",
    re.I,
)
_TOKENS = re.compile(
    r"(\d[\d,]*) (?:tokens? )?(?:in|from) the (?:input|messages|prompt)"
    r"|(?:contains|has|passed|resulted in)(?: at least)? (\d[\d,]*)(?: input)? tokens"
    r"|(?:input|prompt|request) \((?:length )?(\d[\d,]*)|n_prompt_tokens\W{1,4}(\d[\d,]*)"
    r"|too long: (\d[\d,]*)",
    re.I,
)


class Overlong(NamedTuple):
    """What a server says of a request that does not fit: numbers of tokens, None where unsaid."""

    tokens: int | None  # of the prompt
    window: int | None

    @property
    def prompt_fits(self) -> bool:
        """Whether the prompt alone has room, so that the limit on the answer is too large."""
        return self.tokens is not None and self.window is not None and self.tokens < self.window


def why_too_long(tokens: int | None, window: int | None, said: str = "") -> str:
    """Return the reason in words; `said` is what a server said where the numbers are unknown."""
    if tokens is None or window is None:
        return f"prompt too long: {said}"
    return f"prompt too long: {tokens} tokens, window {window}"


def read_overlong(said: str) -> Overlong | None:
    """Return what a server's refusal (HTTP 400 and the like) says of lengths; None: nothing.

    Reads the words of OpenAI, vLLM, SGLang, llama.cpp and their like.
    """
    if not _TOO_LONG.search(said):
        return None
    tokens, window = _number(_TOKENS, said), _number(_WINDOW, said)
    if _LIMIT_TOO_LARGE.search(said) and (tokens is None or window is None):
        return None  # nothing says that it is the prompt's fault
    return Overlong(tokens, window)


def room_for(limit: int | None, window: int) -> int:
    """Return how many tokens of the window a cut prompt leaves for its answer.

    `limit` is the most that an answer may have; without one it gets a quarter of the window.
    """
    return min(limit or max(1, window // 4), max(1, window // 2))


def shortened(messages: Sequence[Message], share: float) -> list[Message] | None:
    """Return the messages with about that share of their characters, or None where that is too few.

    The longest text loses its middle, so that what comes first (the instructions) and what comes
    last (the question, or how to answer) stay. The same messages are cut in the same way anywhere.
    """
    sizes = [len(message["content"] or "") for message in messages]
    if not sizes:
        return None
    place = sizes.index(max(sizes))
    left = sizes[place] - (sum(sizes) - int(share * _SPARE * sum(sizes))) - len(_MARK)
    if left < _SHORTEST:
        return None
    text, head = messages[place]["content"], left - left // 2
    cut = messages[place] | {"content": text[:head] + _MARK + text[len(text) - left // 2 :]}
    return [*messages[:place], cut, *messages[place + 1 :]]


def _number(pattern: re.Pattern[str], said: str) -> int | None:
    found = pattern.search(said)
    digits = next(filter(None, found.groups()), None) if found else None
    return None if digits is None else int(digits.replace(",", "")[:12])
