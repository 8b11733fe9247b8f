"""Fields within columns: `data.prompt` is the field `prompt` of the column `data`."""

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
    wanted = [name for name in (*columns.mapped(), *columns.scores) if "." in name]
    if not wanted:
        return list(rows)
    return [Raw(_with_paths(row.values, wanted), row.where) for row in rows]


def _with_paths(values: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rest = values
    for path in dict.fromkeys(wanted):
        if path in values:
            continue
        there, value = field_at(values, path)
        if there:
            found[path] = value
        rest = without_field(rest, path)
    return {**rest, **found}


def field_at(fields: Any, path: str) -> tuple[bool, Any]:
    """Return whether there is such a field, or one within another (`a.b`), and its value."""
    if isinstance(fields, dict) and path in fields:
        return True, fields[path]
    return _at(fields, path.split("."))


def without_field(fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the fields without the one that `field_at` finds, and without what is then empty."""
    there, _ = field_at(fields, path)
    return _without(fields, [path] if path in fields else path.split(".")) if there else fields


def paths(fields: dict[str, Any]) -> set[str]:
    """Return the names of all fields, those within others too, as in `a.b`."""
    found = set(fields)
    for name, inner in fields.items():
        found |= {f"{name}.{rest}" for rest in paths(inner)} if isinstance(inner, dict) else set()
    return found


def _at(value: Any, steps: Sequence[str]) -> tuple[bool, Any]:
    for number, step in enumerate(steps):
        if value is None and number:
            return True, None
        if not isinstance(value, dict) or step not in value:
            return False, None
        value = value[step]
    return True, value


def _without(value: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    inner = value.get(steps[0])
    left = {k: v for k, v in value.items() if k != steps[0]}
    if len(steps) > 1 and isinstance(inner, dict):
        smaller = _without(inner, steps[1:])
        if smaller:
            return {k: smaller if k == steps[0] else v for k, v in value.items()}
    return left
