"""What became of the rows that a stage was given, and of what is inside those that it kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths, owners
from curate.schema import COLUMNS, DROP, FAIL, reason_kinds


def _has_reasons(kind: pa.DataType) -> bool:
    """Whether values of this type are lists whose elements have a reason each, or none."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    place = kind.value_type.get_field_index(DROP)
    return place >= 0 and bool(kind.value_type.field(place).type == pa.string())


INSIDE = "inside"  # the key of `Record.info`; parts of early versions lack it

INNER = frozenset(name for name, kind in COLUMNS.items() if _has_reasons(kind))
"""The columns of a fixed type whose elements can be dropped: "candidates" and "pairs"."""

Inside = dict[str, dict[str, int]]
"""By the column ("pairs", "candidates"), how many of its elements were dropped for which reason."""


def alive(columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Return (rows,) where a row is neither dropped nor failed."""
    mask = pa.repeat(True, rows)
    for name in (DROP, FAIL):
        if name in columns:
            mask = pc.and_(mask, columns[name].is_null())
    return mask


def outcome(columns: Mapping[str, pa.Array], rows: int) -> dict[str, Any]:
    """Count rows in, rows out, and the reasons of the rest; a failed row is not also dropped."""
    if DROP not in columns and FAIL not in columns:
        return {"rows_in": rows, "rows_out": rows, "dropped": {}, "failed": {}}
    empty = pa.nulls(rows, pa.string())
    failed = columns.get(FAIL, empty)
    dropped = pc.if_else(failed.is_null(), columns.get(DROP, empty), pa.scalar(None, pa.string()))
    return {
        "rows_in": rows,
        "rows_out": pc.sum(alive(columns, rows)).as_py() or 0,
        "dropped": tally(dropped),
        "failed": tally(failed),
    }


def tally(reasons: pa.Array) -> dict[str, int]:
    """Count reasons by kind, see `schema.reason_kinds`."""
    if reasons.null_count == len(reasons):
        return {}
    values, counts = pc.value_counts(reasons.drop_null()).flatten()  # most rows share a few
    found = Counter[str]()
    for kind, count in zip(reason_kinds(values).to_pylist(), counts.to_pylist(), strict=True):
        found[kind] += count
    return dict(sorted(found.items()))


def dropped_inside(
    result: Mapping[str, pa.Array], before: pa.Table | None, rows: int
) -> Inside | None:
    """Count what a stage's result drops inside the rows that it keeps.

    `before` is what the stage was given: what was dropped there already does not count again. A
    column that it was not given, or whose rows have another number of elements now, is the
    stage's own from the first to the last. None where no column has elements that can be dropped.
    """
    found = {n: c for n, c in result.items() if _has_reasons(c.type)}
    if not found:
        return None
    counted: Inside = {}
    for name, column in found.items():
        reasons = flat(column, DROP)
        if reasons.null_count == len(reasons):
            continue
        counts = lengths(column)
        new = np.asarray(reasons.is_valid())
        new &= np.asarray(alive(result, rows))[owners(counts)]
        old = before[name] if before is not None and name in before.column_names else None
        if old is not None and _has_reasons(old.type) and np.array_equal(lengths(old), counts):
            new &= np.asarray(flat(old, DROP).is_null())
        if new.any():
            counted[name] = tally(reasons.filter(pa.array(new)))
    return counted
