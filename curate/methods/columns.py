"""A row's value by the name that users give it: a column, or a key of the source's own columns.

What a source has beside the known columns lives as JSON in `meta`, and is called "meta.KEY". A key
within a key is called "meta.KEY.KEY"; a key that holds the dots itself comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa

from curate.arrays import Column
from curate.errors import StageError, did_you_mean

OWN = "meta."
KINDS = (
    pa.float64(), pa.bool_(), pa.string(), pa.list_(pa.float64()), pa.list_(pa.string())
)  # fmt: skip


def base_column(name: str) -> str:
    """Return the column that `name` is read from: "meta.KEY" from `meta`, others from their own."""
    return "meta" if name.startswith(OWN) else name


def column_of(view: pa.Table, name: str, required: bool = False) -> Column:
    """Return the column `name`, or the values of "meta.KEY" as one.

    The latter as numbers, truth values, texts, lists of numbers or lists of texts where all rows
    agree in that; else as the JSON text of each. What no row has is a column of null numbers, or,
    if it is `required`, a StageError that names keys that are there.
    """
    if not name.startswith(OWN) or name in view.column_names:
        return view[name]
    values = values_of(view, name, required)
    return typed(values, kinds_of(values))


def values_of(view: pa.Table, name: str, required: bool = False) -> list[Any]:
    """Return the same as Python values (n), as they are; None where a row has none."""
    if not name.startswith(OWN):
        return list(view[name].to_pylist())
    path, metas = name.removeprefix(OWN), view["meta"].to_pylist()
    values = [_inside(orjson.loads(text), path) if text else None for text in metas]
    if required and values and all(value is None for value in values):
        raise no_such_key(name, own_keys(view["meta"]))
    return values


def no_such_key(name: str, keys: Sequence[str]) -> StageError:
    """Return the error for "meta.KEY" where no row has the key, but has these."""
    key = name.removeprefix(OWN)
    return StageError(f"no row has {key!r} in `meta`{did_you_mean(key, keys)}")


def own_keys(meta: Column) -> list[str]:
    """Return the keys that some row's `meta` has, sorted."""
    loaded = [orjson.loads(text) for text in meta.unique().to_pylist() if text]
    return sorted({key for one in loaded if isinstance(one, dict) for key in one})


def _inside(value: Any, path: str) -> Any:
    """Return what lies at `path` in nested mappings; the longest key that is there is taken."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, _, rest = path.partition(".")
    return _inside(value.get(head), rest) if rest else None


def kinds_of(values: Sequence[Any]) -> int:
    """Return the kinds of column that can hold all of the values, a bit of `KINDS` for each.

    Of several stretches of a column those that all of them have in common: their bits' `&`.
    """
    known = [value for value in values if value is not None]
    fits = [
        all(map(_is_number, known)),
        *(all(isinstance(v, k) for v in known) for k in (bool, str)),
    ]
    if lists := all(isinstance(value, list) for value in known):
        known = [item for value in known for item in value if item is not None]
    fits += [lists and all(map(_is_number, known))]
    fits += [lists and all(isinstance(item, str) for item in known)]
    return sum(1 << bit for bit, fit in enumerate(fits) if fit)


def typed(values: Sequence[Any], kinds: int) -> pa.Array:
    """Return the values as a column of the first of the kinds, else as the JSON text of each."""
    for bit, kind in enumerate(KINDS):
        if kinds >> bit & 1:
            if kind == pa.float64():
                values = [None if value is None else float(value) for value in values]
            return pa.array(values, kind)
    texts = [None if v is None else v if isinstance(v, str) else _json(v) for v in values]
    return pa.array(texts, pa.string())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
