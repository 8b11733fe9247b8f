"""Answers and prompts as columns, whether stored as text, as messages, or as one transcript."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, large, lengths, lists, owners
from curate.errors import InputError
from curate.methods.judgments import true

TURN = "\n\nAssistant:"  # how a set without a prompt column marks the answer within a text


BREAK = pa.scalar("\n", pa.large_string())
MESSAGES = (("role", "content"), ("from", "value"))
"""What a message's two fields are called: by most, and in ShareGPT's files."""


class Answers(NamedTuple):
    """A column of answers: large_string columns, "" where something is not there."""

    answer: pa.Array  # null stays null
    before: pa.Array  # what the same column holds before the answer
    last: pa.Array  # the last message of that
    whole: bool  # whether the column holds conversations


class Prompt(NamedTuple):
    """A column of prompts as large_string: all that was said, and the last message."""

    text: pa.Array
    last: pa.Array


def read_answers(column: pa.Array, where: str) -> Answers:
    """Return texts, single messages or conversations as answers. Raises InputError for others."""
    if _content(column.type):
        column = _said(pc.struct_field(column, _content(column.type)))
    if not is_conversation(column.type):
        text = read_text(column, where)
        nothing = pa.repeat(pa.scalar("", pa.large_string()), len(text))
        return Answers(text, nothing, nothing, False)
    contents = _contents(column)
    counts = lengths(contents)
    ends = np.cumsum(counts)
    words = flat(contents)
    keep = np.ones(len(words), dtype=bool)
    keep[(ends - 1)[counts > 0]] = False
    before = lists(np.maximum(counts - 1, 0), words.filter(pa.array(keep)))
    previous = words.take(pa.array(np.maximum(ends - 2, 0), mask=counts < 2))
    answer = words.take(pa.array(np.maximum(ends - 1, 0), mask=counts == 0))
    return Answers(answer, pc.binary_join(before, BREAK), pc.fill_null(previous, ""), True)


def read_prompt(column: pa.Array, where: str) -> Prompt:
    """Return a column of texts or conversations as prompts. Raises InputError for anything else."""
    if not is_conversation(column.type):
        text = pc.fill_null(read_text(column, where), "")
        return Prompt(text, text)
    contents = _contents(column)
    return Prompt(
        pc.fill_null(pc.binary_join(contents, BREAK), ""),
        pc.fill_null(last_content(contents), ""),
    )


def split_transcript(text: pa.Array, where: str) -> Answers:
    """Return what stands after the last "Assistant:" turn of a text as the answer.

    Raises InputError where a text has no such turn, since then nothing says what was asked.
    """
    known = pc.fill_null(text, "")
    lacking = ~true(pc.match_substring(known, TURN))
    if lacking.any():
        row = int(np.flatnonzero(lacking)[0]) + 1
        raise InputError(
            f"{where}: no prompt column, and answer {row} holds no {TURN.strip()!r} turn either; "
            "name the prompt with --map prompt=COLUMN"
        )
    parts = flat(pc.split_pattern(known, TURN, max_splits=1, reverse=True))
    before, answer = (
        parts.take(pa.array(range(0, len(parts), 2))),
        parts.take(pa.array(range(1, len(parts), 2))),
    )
    return Answers(answer, before, before, True)


def is_conversation(kind: pa.DataType) -> bool:
    """Whether a column holds lists of messages, or nothing but empty lists."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_null(kind.value_type) or _content(kind.value_type))


def _content(kind: pa.DataType) -> str:
    """Return the name of a message's text; "" for what is no message."""
    if not pa.types.is_struct(kind):
        return ""
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    for role, content in MESSAGES:
        said = fields.get(content)
        if role in fields and said is not None and (_is_text(said) or _is_parts(said)):
            return content
    return ""


def last_content(contents: pa.Array) -> pa.Array:
    """Return each list's last value; null for an empty one."""
    counts = lengths(contents)
    return flat(contents).take(pa.array(np.maximum(np.cumsum(counts) - 1, 0), mask=counts == 0))


def read_text(column: pa.Array, where: str) -> pa.Array:
    """Return a text column as large_string. Raises InputError for another kind, or bad UTF-8."""
    if not _is_text(column.type):
        raise InputError(
            f"{where}: prompts and answers must be text or lists of {{role, content}}, "
            f"not {column.type}; map other columns"
        )
    text = large(column)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: {error}; re-encode the file as UTF-8") from None
    return text


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests) or bool(pa.types.is_null(kind))


def _is_parts(kind: pa.DataType) -> bool:
    """Whether messages are lists of {type: text, text: ...}, as chat APIs write them."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    part = kind.value_type
    return pa.types.is_struct(part) and any(f.name == "text" and _is_text(f.type) for f in part)


def _said(contents: pa.Array) -> pa.Array:
    """Return what each message says: its text, or those of its parts with a newline between."""
    if not _is_parts(contents.type):
        return contents
    texts = large(flat(contents, "text"))
    owner = owners(lengths(contents))[texts.is_valid().to_numpy(zero_copy_only=False)]
    return pc.binary_join(
        lists(np.bincount(owner, minlength=len(contents)), texts.drop_null()), BREAK
    )


def _contents(column: pa.Array) -> pa.Array:
    if pa.types.is_null(column.type.value_type):
        return lists(np.zeros(len(column), dtype=np.int64), pa.nulls(0, pa.large_string()))
    texts = large(_said(flat(column, _content(column.type.value_type))))
    # A null message text reads as empty: it must not hide the whole conversation.
    return lists(lengths(column), pc.fill_null(texts, ""))
