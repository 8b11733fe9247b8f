"""Prompts and whatever comes with them, a batch of rows at a time.

Most input is a prompt, perhaps an id, and columns that nobody maps. Such rows become Arrow
columns without a dictionary per row; the result is as `canonical_row` and `tabulate` give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from curate.arrays import lists, structs
from curate.schema import DROP, PROMPT
from curate.sources.columns import Columns
from curate.sources.labels import empty
from curate.sources.messages import Unheld, has_extras, turns
from curate.sources.values import Raw, content_id, row_id, to_json


def prompt_table(rows: Sequence[Raw], columns: Columns) -> pa.Table | None:
    """Map rows of which only a prompt and perhaps an id mean something.

    None where they hold anything that `canonical_row` has to look at: lone surrogates, fields
    of messages to keep, and what is wrong and needs an error. Raises InputError for a message of
    the wrong shape.
    """
    name, key = columns.prompt, columns.id
    if name is None or name == key or not columns.prompts_only():
        return None
    counts: list[int] = []
    roles: list[str] = []
    contents: list[str] = []
    reasons: list[str | None] = []
    for row in rows:
        value = row.values.get(name, row)  # the row itself: no such column
        if isinstance(value, str):
            said, reason = value, None if value and not value.isspace() else "prompt is empty"
        elif value is None:
            said, reason = "", "prompt is null"
        elif isinstance(value, list) and not has_extras(value):
            try:
                messages = turns(row, name, value)
            except Unheld:
                return None
            counts.append(len(messages))
            roles += [turn["role"] for turn in messages]
            contents += [turn["content"] for turn in messages]
            reasons.append(empty(messages))
            continue
        else:
            return None
        counts.append(1)
        roles.append("user")
        contents.append(said)
        reasons.append(reason)
    meta = [_meta(row.values, name, key) for row in rows]
    try:
        content = pa.array(contents, pa.string())
        ids = _content_ids(counts, roles, contents, meta) if key is None else _given_ids(rows, key)
    except UnicodeError:  # a lone surrogate
        return None
    if ids is None:
        return None
    said_by = structs(PROMPT.value_type, len(contents), role=pa.array(roles), content=content)
    columns_of = {"id": ids, "prompt": lists(counts, said_by), "meta": pa.array(meta, pa.string())}
    return pa.table({**columns_of, DROP: pa.array(reasons, pa.string())})


def _meta(values: dict[str, Any], name: str, key: str | None) -> str:
    rest = {k: v for k, v in values.items() if k not in (name, key)}
    return to_json(rest) if rest else "{}"


def _given_ids(rows: Sequence[Raw], key: str) -> pa.Array | None:
    ids = [row.values.get(key) for row in rows]
    if not all(type(one) is int or (type(one) is str and one) for one in ids):
        return None
    return pa.array([str(one) for one in ids], pa.string())


def _content_ids(
    counts: Sequence[int], roles: Sequence[str], contents: Sequence[str], meta: Sequence[str]
) -> pa.Array:
    ids, start = [], 0
    for count, rest in zip(counts, meta, strict=True):
        if count == 1 and rest == "{}" and roles[start] == "user":
            ids.append(content_id(contents[start].encode()))
        else:
            places = range(start, start + count)
            prompt = [{"role": roles[i], "content": contents[i]} for i in places]
            ids.append(row_id({"prompt": prompt, "meta": rest}))
        start += count
    return pa.array(ids, pa.string())
