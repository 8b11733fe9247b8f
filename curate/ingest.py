"""From a source's units to committed shards, so that an unchanged file is never read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.arrays import one_chunk
from curate.schema import DROP
from curate.sources import Source, Unit
from curate.store import Record, Store, digest
from curate.work import Shard, outcome


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
    return store.commit_all(_parts(source, identity, unit))


def _parts(
    source: Source, identity: object, unit: Unit
) -> Iterator[tuple[Record, dict[str, pa.Array]]]:
    number, tables = 0, source.read(unit)
    empty = pa.table({"id": pa.array([], pa.string())})  # says that an empty file was read
    table = next(tables, empty)
    while table is not None:
        following = next(tables, None)
        last = {"last": True} if following is None else {}
        info = {"unit": Path(unit.name).name, **last}
        record = _part(_key(identity, unit, number), table, info)
        yield record, {name: one_chunk(table[name]) for name in record.columns}
        table, number = following, number + 1


def _cut(store: Store, record: Record, rows: int) -> Record:
    """Return the part that holds a shard's first rows."""
    key = digest([record.key, "first", rows])
    found = store.find("source", key)
    if found is not None:
        return found
    table = pa.table(store.read(record, record.columns)).slice(0, rows)
    part = _part(key, table, {"unit": record.info["unit"]})
    return store.commit(part, {name: one_chunk(table[name]) for name in part.columns})


def _part(key: str, table: pa.Table, info: dict[str, Any]) -> Record:
    columns = {name: one_chunk(table[name]) for name in table.column_names}
    if DROP in columns and columns[DROP].null_count == table.num_rows:
        del columns[DROP]
    return Record(
        stage="source",
        key=key,
        file="",
        sha256="",
        columns=tuple(columns),
        appends=(),
        info=info,
        **outcome(columns, table.num_rows),
    )


def _key(identity: object, unit: Unit, number: int) -> str:
    return digest([identity, unit.digest, number])
