"""From a source's units to committed shards, so that an unchanged file is never read again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.arrays import one_chunk
from curate.schema import DROP
from curate.sources import Source, Unit
from curate.store import Record, Store, digest
from curate.work import Shard, outcome


def ingest(source: Source, store: Store) -> list[Shard]:
    """Return the source's shards in order, reading only units that are not in the store yet.

    Raises InputError for malformed data, before anything of that unit counts as committed.
    """
    identity = source.identity()
    records: list[Record] = []
    for unit in source.units():
        records.extend(_known(store, identity, unit) or _read(source, store, identity, unit))
    return [Shard(index).advance(record) for index, record in enumerate(records)]


def _known(store: Store, identity: object, unit: Unit) -> list[Record] | None:
    """Return the unit's shards if all are committed. The last one is marked as such."""
    records: list[Record] = []
    while True:
        record = store.find("source", _key(identity, unit, len(records)))
        if record is None:
            return None
        records.append(record)
        if record.info.get("last"):
            return [r for r in records if r.rows_in or len(records) > 1]


def _read(source: Source, store: Store, identity: object, unit: Unit) -> list[Record]:
    records: list[Record] = []
    tables = source.read(unit)
    table = next(tables, None)
    if table is None:  # an empty file: an empty part says that it was read
        record = _part(_key(identity, unit, 0), pa.table({"id": pa.array([], pa.string())}), unit)
        store.commit(_last(record), {"id": pa.array([], pa.string())})
        return []
    while table is not None:
        following = next(tables, None)
        record = _part(_key(identity, unit, len(records)), table, unit)
        columns = {name: one_chunk(table[name]) for name in record.columns}
        records.append(store.commit(record if following is not None else _last(record), columns))
        table = following
    return records


def _part(key: str, table: pa.Table, unit: Unit) -> Record:
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
        info={"unit": Path(unit.name).name},
        **outcome(columns, table.num_rows),
    )


def _last(record: Record) -> Record:
    return Record(**{**record.__dict__, "info": {**record.info, "last": True}})


def _key(identity: object, unit: Unit, number: int) -> str:
    return digest([identity, unit.digest, number])
