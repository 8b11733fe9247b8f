"""A column as one text a row, whatever it holds: what stages show to a model of a row."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from curate.arrays import large, last_turn, one_chunk
from curate.errors import StageError
from curate.methods.columns import OWN, base_column, values_of
from curate.stages.questions import numbered
from curate.stages.shown import transcripts


def source_of(name: str) -> str:
    """Return the column that `name` is read from: "meta.KEY" from `meta`, "last_turn" from
    `prompt`, any other from the column of that name.
    """
    return "prompt" if name == "last_turn" else base_column(name)


def row_texts(view: pa.Table, name: str) -> pa.Array:
    """Return a text a row (large_string), null where the row has none.

    `name` is "prompt" (the whole conversation), "last_turn", "meta.KEY", or a column of texts,
    or of lists of texts, which become numbered lines. Raises StageError for another type.
    """
    if name == "prompt":
        return transcripts(view["prompt"])
    if name == "last_turn":
        return large(last_turn(view["prompt"]))
    if name.startswith(OWN):
        texts = [_as_text(value) for value in values_of(view, name)]
        return pa.array(texts, pa.large_string())
    kind = view[name].type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return large(view[name])
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        rows = one_chunk(view[name]).to_pylist()
        texts = [numbered([entry or "" for entry in row]) if row else None for row in rows]
        return pa.array(texts, pa.large_string())
    raise StageError(f"column {name!r} holds {kind}; only texts and lists of texts can be shown")


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
