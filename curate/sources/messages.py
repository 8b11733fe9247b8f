"""Conversations as files have them, read as lists of {role, content}."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from curate.errors import InputError, did_you_mean
from curate.sources.values import Raw, kind, wrong

ROLES = ("assistant", "system", "user")
SPEAKERS = {"human": "user", "gpt": "assistant"}  # ShareGPT's names for them
TOOL_ROLES = frozenset({"tool", "function", "function_call", "observation", "ipython"})
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})  # what chat APIs call a part of text
MESSAGE = ("role", "content", "from", "value")
PART = ("type", "text")
TOOL_CALLS = ("tool_calls", "function_call")

Turn = dict[str, str]


class Unheld(Exception):
    """A sound message that is more than a row can hold: its words are a reason to drop the row."""


def turns(row: Raw, column: str, value: list[Any]) -> list[Turn]:
    """Return messages as {role, content}; ShareGPT's, which are {from, value}, too.

    Raises InputError on a bad role or shape, and Unheld where tools are called or answer, or where
    part of a message is no text.
    """
    result = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict):
            raise wrong(row, column, "text or a list of {role, content}", message, "a list with ")
        place = f"column {column!r}, message {number}"
        said_by, said = ("role", "content") if message.get("from") is None else ("from", "value")
        role = message.get(said_by)
        role = SPEAKERS.get(role, role) if isinstance(role, str) else role
        if role is None:
            fields = ", ".join(repr(str(name)[:30]) for name in list(message)[:6])
            raise InputError(
                f"{row.where}: {place}: has no role but {fields or 'nothing'}; messages are "
                "{role, content}, and a list of answers is `candidates`"
            )
        if role in TOOL_ROLES or any(message.get(field) for field in TOOL_CALLS):
            raise Unheld(f"messages of tools or calls of them: {place}")
        if role not in ROLES:
            raise InputError(
                f"{row.where}: {place}: unknown role {str(role)[:40]!r}"
                f"{did_you_mean(str(role), ROLES)}"
            )
        content = joined(row, place, message.get(said))
        if not isinstance(content, str):
            raise InputError(
                f"{row.where}: {place}: content must be text, not {kind(content)}; "
                "remove the message or give its text"
            )
        result.append({"role": role, "content": content})
    return result


def joined(row: Raw, place: str, content: object) -> object:
    """Return content that is a list of parts as one text, and any other as it is.

    Parts are {type: text, text: ...}, as chat APIs have them. A newline is put between, as vLLM
    does for a model whose template takes texts alone. Raises Unheld where a part is no text, such
    as an image, and InputError where it is no part at all.
    """
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        type_ = part.get("type") if isinstance(part, dict) else None
        if isinstance(type_, str) and type_ not in TEXT_PARTS:
            raise Unheld(f"messages with a part that is no text: {place}")
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise InputError(
                f"{row.where}: {place}: a list as content has parts of {{type: text, text: ...}}, "
                f"and one has no text but {kind(text)}; remove it or give its text"
            )
        texts.append(text)
    return "\n".join(texts)


def has_extras(value: Any) -> bool:
    """Whether some message carries more than who says what."""
    return isinstance(value, list) and any(
        isinstance(turn, dict)
        and (_more(turn, MESSAGE) or any(_more(part, PART) for part in _parts(turn)))
        for turn in value
    )


def _parts(turn: dict[str, Any]) -> list[Any]:
    contents = (turn.get(name) for name in ("content", "value"))
    return [part for said in contents if isinstance(said, list) for part in said]


def _more(fields: object, known: Container[str]) -> bool:
    return isinstance(fields, dict) and any(
        v is not None for name, v in fields.items() if name not in known
    )
