"""Canonical rows to Arrow: row by row, or whole columns at once where there is only a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import lists, structs
from curate.errors import InputError
from curate.schema import COLUMNS, DROP, PROMPT
from curate.sources.columns import Columns
from curate.sources.values import content_id


def tabulate(rows: list[dict[str, Any]], columns: Columns) -> pa.Table:
    """Return canonical rows as a table of the provided columns and `drop`."""
    arrays = {
        name: pa.array([row[name] for row in rows], COLUMNS[name]) for name in columns.provides()
    }
    arrays[DROP] = pa.array([row[DROP] for row in rows], pa.string())
    return pa.table(arrays)


def shards(tables: Iterable[pa.Table], rows: int) -> Iterator[tuple[pa.Table, bool]]:
    """Cut a stream of tables into tables of `rows` rows; tell of each whether it is the last.

    The last one may be shorter. Each other is there as soon as one row more has come.
    """
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.num_rows
        if size <= rows:
            continue
        joined = pa.concat_tables(held)
        rest = range(0, size, rows)[-1]
        for start in range(0, rest, rows):
            yield _lean(joined.slice(start, rows)), False
        held, size = [joined.slice(rest)], size - rest
    if size:
        yield _lean(pa.concat_tables(held)), True


def _lean(table: pa.Table) -> pa.Table:
    """Leave the reasons out where there are none, and lay the columns out whole.

    A part needs them so, and whoever commits it should not hold the batches beside the copy.
    """
    if table[DROP].null_count == table.num_rows:
        table = table.drop_columns([DROP])
    return table.combine_chunks()


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_plain(schema: pa.Schema, columns: Columns) -> bool:
    """Whether `plain` can map a batch: a text prompt, perhaps an id, and nothing else."""
    if columns.transcripts or not columns.prompts_only():
        return False
    if sorted(schema.names) != sorted(set(columns.mapped())):
        return False
    if columns.prompt == columns.id or not _is_text(schema.field(columns.prompt).type):
        return False
    return columns.id is None or _is_text(schema.field(columns.id).type)


def plain(batch: pa.RecordBatch, columns: Columns, where: str, first_row: int) -> pa.Table:
    """Map a batch of prompts without a Python object per row; the result is as `tabulate`'s.

    `where` is the file and `first_row` the number of the batch's first row, from 1.
    """
    prompt = _text(batch.column(columns.prompt), columns.prompt, where, first_row)
    content = pc.fill_null(prompt, "") if prompt.null_count else prompt
    size = len(batch)
    turns = structs(PROMPT.value_type, size, role="user", content=content)
    if columns.id is None:
        ids = _content_ids(content)
    else:
        ids = _text(batch.column(columns.id), columns.id, where, first_row)
        bad = pc.fill_null(pc.equal(pc.binary_length(ids), 0), True)
        if pc.any(bad).as_py():
            row = first_row + pc.index(bad, True).as_py()
            raise InputError(
                f"{where}, row {row}: column {columns.id!r} is null or empty; give every row an "
                "id, or leave `id` unmapped to use a hash of the content"
            )
    return pa.table(
        {
            "id": ids,
            "prompt": lists(np.ones(size, dtype=np.int64), turns),
            "meta": pa.repeat(pa.scalar("{}"), size),
            DROP: _reasons(prompt),
        }
    )


def _text(column: pa.Array, name: str | None, where: str, first_row: int) -> pa.Array:
    array = column if column.type == pa.string() else pc.cast(column, pa.string())
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        for row, value in enumerate(array.cast(pa.binary())):
            try:
                bytes(value.as_py() or b"").decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{where}, row {first_row + row}: column {name!r}: text is not valid UTF-8 "
                    f"({error.reason}); re-encode the file"
                ) from None
        raise
    return array


def _reasons(prompt: pa.Array) -> pa.Array:
    starts = pc.utf8_slice_codeunits(prompt, 0, 1)
    blank = pa.array(
        sorted(s for s in pc.unique(starts).to_pylist() if s is not None and not s.strip()),
        pa.string(),
    )
    # Few prompts begin with a space, and Python decides about those as it does row by row.
    at = np.flatnonzero(pc.is_in(starts, value_set=blank).to_numpy(zero_copy_only=False))
    suspects = prompt.take(pa.array(at)).to_pylist()
    reasons = np.full(len(prompt), None, dtype=object)
    reasons[
        [i for i, text in zip(at, suspects, strict=True) if text is not None and not text.strip()]
    ] = "prompt is empty"
    if prompt.null_count:
        reasons[prompt.is_null().to_numpy(zero_copy_only=False)] = "prompt is null"
    return pa.array(reasons, pa.string())


def _content_ids(content: pa.Array) -> pa.Array:
    _, offsets, data = content.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[
        content.offset : content.offset + len(content) + 1
    ]
    ends = ends.tolist()
    view = memoryview(data if data is not None else b"")
    return pa.array([content_id(view[a:b]) for a, b in pairwise(ends)], pa.string())
