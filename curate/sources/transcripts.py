"""Conversations that are stored as one text, as HH-RLHF has them, read as lists of messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.messages import Turn
from curate.sources.values import Raw, get, wrong

ROLES = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def spoken(rows: Sequence[Raw], columns: Columns) -> list[Raw]:
    """Put messages in place of every transcript in `columns.transcripts`.

    Nulls and blank texts stay as they are: what they mean depends on the column. Raises InputError
    for a text that is no transcript.
    """
    if not columns.transcripts:
        return list(rows)
    return [
        Raw(row.values | {name: _value(row, name, columns) for name in columns.transcripts},
            row.where)
        for row in rows
    ]  # fmt: skip


def _value(row: Raw, name: str, columns: Columns) -> list[Turn] | str | None:
    value = get(row, name)
    if value is not None and not isinstance(value, str):
        raise wrong(row, name, "text, for it is one of `transcripts`", value)
    if value is None or not value.strip():
        return value
    messages = _messages(row, name, value)
    waiting = messages[-1]["role"] == "assistant" and not messages[-1]["content"].strip()
    return messages[:-1] if waiting and name == columns.prompt else messages


def _messages(row: Raw, name: str, text: str) -> list[Turn]:
    """Return a transcript's turns; of what follows a colon one space is left out.

    A speaker counts only behind an empty line, so that one who is quoted within a sentence does
    not begin a turn.
    """
    before, *turns = _TURN.split(text)
    if before or not turns:
        raise InputError(
            f"{row.where}: column {name!r} is no transcript: it must begin with 'Human:' or "
            "'Assistant:', and so must each further turn, behind an empty line; fix the row, or "
            "take the column out of `columns.transcripts`"
        )
    return [
        {"role": ROLES[speaker], "content": said.removeprefix(" ")}
        for speaker, said in zip(turns[::2], turns[1::2], strict=True)
    ]
