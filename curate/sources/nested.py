"""Columns within columns: `data.prompt` is the field `prompt` of the column `data`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.sources.columns import Columns
from curate.sources.values import Raw


def reached(rows: Sequence[Raw], columns: Columns) -> list[Raw]:
    """Bring every mapped `a.b` that is no column's own name up to be a column.

    What is left of `a` stays where it was. A null on the way is a null; a field that is not there
    stays a column that is not there, which whoever asks for it reports.
    """
    paths = [name for name in (*columns.mapped(), *columns.scores) if "." in name]
    if not paths:
        return list(rows)
    return [Raw(_with_paths(row.values, paths), row.where) for row in rows]


def _with_paths(values: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rest = values
    for path in dict.fromkeys(paths):
        if path in values:
            continue
        there, value = _at(values, path.split("."))
        if there:
            found[path] = value
            rest = _without(rest, path.split("."))
    return {**rest, **found}


def _at(value: Any, steps: Sequence[str]) -> tuple[bool, Any]:
    for number, step in enumerate(steps):
        if value is None and number:
            return True, None
        if not isinstance(value, dict) or step not in value:
            return False, None
        value = value[step]
    return True, value


def _without(value: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    """Return a copy without what stands at `steps`, and without what is then empty."""
    inner = value.get(steps[0])
    left = {k: v for k, v in value.items() if k != steps[0]}
    if len(steps) > 1 and isinstance(inner, dict):
        smaller = _without(inner, steps[1:])
        if smaller:
            return {k: smaller if k == steps[0] else v for k, v in value.items()}
    return left
