"""From a source's units to committed shards, so that an unchanged file is never read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import one_chunk
from curate.errors import RepeatedId
from curate.fate import INSIDE, dropped_inside, outcome
from curate.schema import DROP
from curate.sources.contract import Source, Unit
from curate.stages.unique_id import REMEDY
from curate.store import Part, Record, Store, digest
from curate.work import Shard


def ingest(
    source: Source,
    store: Store,
    limit: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Shard]:
    """Return the source's shards in order, reading only units that are not in the store yet.

    With `limit`, only the first rows: whole shards are those of the whole source, and the last
    one is cut. Returns early, with the shards so far, once `stopping()`. Raises InputError for
    malformed data, before anything of that unit counts as committed.
    """
    identity = source.identity()
    records: list[Record] = []
    rows = 0
    for unit in source.units():
        for record in _unit(source, store, identity, unit):
            if stopping():
                return _shards(records)
            if record.rows_in:
                over = rows + record.rows_in - limit if limit is not None else 0
                records.append(_cut(store, record, record.rows_in - over) if over > 0 else record)
                rows += records[-1].rows_in
            if rows == limit:
                return _shards(records)
    return _shards(records)


@contextmanager
def saying_where(source: Source, store: Store, shards: Sequence[Shard]) -> Iterator[None]:
    """Let a RepeatedId say in which files the rows of that id are, and by which column.

    Stages see only rows that are alive, and no files; the source's parts hold every row. Rows are
    counted as the source counts its own, from 1 in each file: blank lines are none, and where rows
    are grouped a group is one.
    """
    try:
        yield
    except RepeatedId as error:
        if error.row_id is None:
            raise
        places = _places(store, shards, error.row_id)
        shown = ", ".join(places[:4]) + (f" and {len(places) - 4} more" * (len(places) > 4))
        what = "group" if source.columns.group else "row, blank lines not counted"
        of = f" (column {source.columns.id!r})" if source.columns.id is not None else ""
        raise RepeatedId(
            f"rows that differ share the id {error.row_id!r}{of}: {shown} (file:{what}); {REMEDY}",
            error.row_id,
        ) from None


def _places(store: Store, shards: Sequence[Shard], row_id: str) -> list[str]:
    """Return "file:number" of each row of the id; those that the source drops count as numbers."""
    found, before = [], Counter[tuple[int, str]]()
    file = 0  # two files of different folders may have one name
    for shard in shards:
        part = shard.parts[0]
        unit = (file, str(part.info["unit"]))
        columns = store.read(part, ["id", DROP])
        hits = pc.equal(columns["id"], row_id)
        if DROP in columns:
            hits = pc.and_(hits, columns[DROP].is_null())
        at = np.flatnonzero(hits.to_numpy(zero_copy_only=False)) + before[unit] + 1
        found += [f"{unit[1]}:{number}" for number in at.tolist()]
        before[unit] += part.rows_in
        file += bool(part.info.get("last"))
    return found


def _shards(records: list[Record]) -> list[Shard]:
    return [Shard(index).advance(record) for index, record in enumerate(records)]


def _unit(source: Source, store: Store, identity: object, unit: Unit) -> Iterator[Record]:
    """Yield the unit's records: those in the store, and from the first gap on what is read."""
    number = 0
    while (record := store.find("source", _key(identity, unit, number))) is not None:
        yield record
        number += 1
        if record.info.get("last"):
            return
    for place, record in enumerate(_read(source, store, identity, unit)):
        if place >= number:
            yield record


def _read(source: Source, store: Store, identity: object, unit: Unit) -> Iterator[Record]:
    """Commit the unit's tables as they are read; the record of the last one says so."""

    def part_of(item: tuple[int, pa.Table, bool]) -> Part:
        number, table, is_last = item
        info = {"unit": Path(unit.name).name, **({"last": True} if is_last else {})}
        return _part(_key(identity, unit, number), table, info)

    return store.commit_all(_numbered(source.shards(unit)), part_of)


def _numbered(tables: Iterator[tuple[pa.Table, bool]]) -> Iterator[tuple[int, pa.Table, bool]]:
    """Yield each table with its number and whether it is the last: there always is one."""
    number = -1
    for number, (table, is_last) in enumerate(tables):
        yield number, table, is_last
    if number < 0:  # a part without rows says that an empty file was read
        yield 0, pa.table({"id": pa.array([], pa.string())}), True


def _cut(store: Store, record: Record, rows: int) -> Record:
    """Return the part that holds a shard's first rows."""
    key = digest([record.key, "first", rows])
    found = store.find("source", key)
    if found is not None:
        return found
    table = pa.table(store.read(record, record.columns)).slice(0, rows)
    return store.commit(*_part(key, table, {"unit": record.info["unit"]}))


def _part(key: str, table: pa.Table, info: dict[str, Any]) -> Part:
    columns = {name: one_chunk(table[name]) for name in table.column_names}
    if DROP in columns and columns[DROP].null_count == table.num_rows:
        del columns[DROP]
    inside = dropped_inside(columns, None, table.num_rows)
    record = Record(
        stage="source",
        key=key,
        file="",
        sha256="",
        columns=tuple(columns),
        appends=(),
        info={**info, **({INSIDE: inside} if inside is not None else {})},
        **outcome(columns, table.num_rows),
    )
    return record, columns


def _key(identity: object, unit: Unit, number: int) -> str:
    return digest([identity, unit.digest, number])
