"""Answers as they are stored: alone as text, or as the last message of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.messages import Turn, turns
from curate.sources.values import Raw, get, wrong


class Ended(NamedTuple):
    """An answer, null where there is none, and what stands before it; None: it stands alone."""

    text: str | None
    before: list[Turn] | None

    def continues(self, prompt: list[Turn]) -> bool:
        """Whether it may answer the prompt: it stands alone, or behind that."""
        return self.before in (None, [], prompt)


Sides = list[Ended]
"""One row's answers: chosen and rejected, or the response, or none."""


def endings(members: Sequence[Raw], columns: Columns) -> list[Sides]:
    """Return the answers of each row of a group. Raises InputError naming row and column."""
    names = answer_columns(columns)
    return [[ended(row, name) for name in names] for row in members]


def answer_columns(columns: Columns) -> list[str]:
    """Return the columns that hold one answer each."""
    return [name for name in (columns.chosen, columns.rejected, columns.response) if name]


def ended(row: Raw, name: str) -> Ended:
    """Return a column's answer: a text, a message, or the last one of a conversation.

    Raises InputError for anything else.
    """
    value = get(row, name)
    if value is None or isinstance(value, str):
        return Ended(value, None)
    if isinstance(value, dict) and {"role", "from"} & value.keys():
        value = [value]
    if not isinstance(value, list):
        raise wrong(row, name, "text or a list of {role, content}", value)
    conversation = turns(row, name, value)
    if not conversation or conversation[-1]["role"] != "assistant":
        raise InputError(
            f"{row.where}: column {name!r} must end with a message of the assistant; "
            "fix the row, or map another column"
        )
    return Ended(conversation[-1]["content"], conversation[:-1])
