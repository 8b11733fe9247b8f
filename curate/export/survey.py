"""What must be known of all rows before the first record is written: the columns it will have.

Records are written as they come, and every record of a file has the same columns. Whether any
pair has a margin, and of what type a kept field of the source is, only the whole set tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Column, flat, one_chunk
from curate.errors import ConfigError, did_you_mean
from curate.export.forms import Form, Records
from curate.export.pairs import take

_AT_ONCE = 1024  # rows whose records are looked at together: bounds memory


@dataclass(frozen=True)
class Again:
    """Tables that are read from the start each time, as a generator cannot be."""

    read: Callable[[], Iterable[pa.Table]]

    def __iter__(self) -> Iterator[pa.Table]:
        """Read them."""
        return iter(self.read())


@dataclass(frozen=True)
class Survey:
    """How to bring a form's records into the columns that all of them share."""

    whole_margins: bool = False  # a null margin stops the trainer
    margins: bool = True  # some pair has one
    left_out: tuple[str, ...] = ()  # columns that some record has no value in
    kept: Mapping[str, pa.DataType] = field(default_factory=dict)

    def dress(self, part: pa.Table, records: Records) -> pa.Table:
        """Return the records of the rows `part`, with their margins settled and what is kept.

        A reward model's loss takes the margin off the difference of two rewards, so 0 asks for
        no distance, which is what the loss does without the column: where only some pairs have a
        margin, the others get 0, and where none has one the column is left out. A column of
        `only_whole` is there where every record has a value. Raises ConfigError where a kept column
        has the name of one of the form's.
        """
        table = records.table
        if self.whole_margins:
            place = table.column_names.index("margin")
            if self.margins:
                known = pc.fill_null(one_chunk(table["margin"]), 0.0)
                table = table.set_column(place, "margin", known)
            else:
                table = table.remove_column(place)
        table = table.drop_columns(list(self.left_out))
        for name, kind in self.kept.items():
            if name in table.column_names:
                raise ConfigError(f"keep {name}: the form has a column of that name already")
            values = _values(part, name)
            column = values if not isinstance(values, list) else _array(values, kind)
            table = table.append_column(name, take(column.cast(kind), records.rows))
        return table


def survey(
    tables: Iterable[pa.Table], shape: Form, keep: Sequence[str] = ()
) -> tuple[Survey, Iterable[pa.Table]]:
    """Look over `tables` as far as the form and the columns to keep ask for it.

    Return what was found, and the tables to read on: a generator's are held where it was read.

    `keep` names columns of the rows, or fields of `meta`, where the source's own columns are. An
    object whose values are plain stays one, and what is nested deeper is kept as JSON text, for
    the objects of two rows seldom have the same fields. Raises ConfigError for a name that no row
    has, or whose values are of several kinds or of none that is stored.
    """
    if not shape.whole_margins and not shape.only_whole and not keep:
        return Survey(), tables
    tables = tuple(tables) if isinstance(tables, Iterator) else tables
    margins, found = False, {name: _Kind() for name in keep}
    names, lacking = set[str](), set[str]()
    rows = 0
    for table in tables:
        rows += len(table)
        if shape.whole_margins and not margins and "pairs" in table.column_names:
            live = flat(table["pairs"], "drop").is_null()
            known = flat(table["pairs"], "margin").filter(live)
            margins = known.null_count < len(known)
        lacking |= _lacking(table, shape, {*shape.only_whole} - lacking)
        for name, kind in found.items():
            kind.add(_values(table, name, names), table["id"])
        settled = margins or not shape.whole_margins
        if settled and lacking >= {*shape.only_whole} and not found:
            break  # no other table can tell more
    names.discard("meta")
    # Of no rows nothing is known, and a run over nothing new is no failure.
    kept = {n: kind.settle(n, names) if rows else pa.string() for n, kind in found.items()}
    return Survey(shape.whole_margins, margins, tuple(sorted(lacking)), kept), tables


def _lacking(table: pa.Table, shape: Form, names: set[str]) -> set[str]:
    """Return those of the columns in which a record of the table has no value."""
    found: set[str] = set()
    for start in range(0, len(table) if names else 0, _AT_ONCE):
        records = shape.build(table.slice(start, _AT_ONCE)).table
        found |= {name for name in names - found if records[name].null_count}
    return found


_NAMES = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list",
    dict: "an object",
}  # fmt: skip


class _Kind:
    """The type that the values of one kept column turn out to have."""

    def __init__(self) -> None:
        self._schemas: list[pa.Schema] = []
        self._deep = False
        self._first: dict[type, str] = {}  # by a value's type, the first row that has one

    def add(self, values: Column | list[Any], ids: pa.ChunkedArray) -> None:
        if not isinstance(values, list):
            self._schemas.append(pa.schema([("value", values.type)]))
            return
        self._deep |= any(map(_is_deep, values))
        for place, kind in enumerate(map(type, values)):
            if kind not in self._first:
                self._first[kind] = ids[place].as_py()
        if not self._deep:
            try:
                arrow = pa.array(values).type
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                arrow = None
            self._schemas.append(pa.schema([("value", arrow)]) if arrow else None)

    def _where(self) -> str:
        rows = [f"{_NAMES[t]} in row {row!r}" for t, row in self._first.items() if t in _NAMES]
        return ": " + ", ".join(rows) if len(rows) > 1 else ""

    def settle(self, name: str, names: set[str]) -> pa.DataType:
        if self._deep:
            return pa.string()
        try:
            if None in self._schemas:
                raise pa.ArrowTypeError("several kinds")
            whole = pa.unify_schemas(self._schemas, promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            raise ConfigError(
                f"keep {name}: its values are of several kinds{self._where()} (a list where the "
                "rows of a `group` differ); make them alike in the source"
            ) from None
        kind = whole.field("value").type if len(whole) else pa.null()
        if pa.types.is_null(kind):
            hint = "" if name in names else did_you_mean(name, names)
            raise ConfigError(f"keep {name}: no row has a value{hint}")
        return kind


def _values(table: pa.Table, name: str, names: set[str] | None = None) -> Column | list[Any]:
    """Return a column as it is, or the field of that name of each row's `meta`, null for none."""
    if names is not None:
        names.update(table.column_names)
    if name in table.column_names:
        return one_chunk(table[name])
    if "meta" not in table.column_names:
        return [None] * len(table)
    metas = [orjson.loads(text) if text else {} for text in table["meta"].to_pylist()]
    if names is not None:
        names.update(*metas)
    return [meta.get(name) for meta in metas]


def _is_deep(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(one, dict | list) for one in inner)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        texts = (type(None), str)
        values = [v if isinstance(v, texts) else orjson.dumps(v).decode() for v in values]
    return pa.array(values, kind)
