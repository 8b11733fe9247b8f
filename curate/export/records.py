"""The stream of an export's records: counted, split, and cut into batches that depend on content.

Whatever the shards' sizes, a split's records reach its files in the same batches with the same
buffers, so the files have the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, hashes, one_chunk
from curate.canonical import canonical
from curate.errors import ConfigError, StageError
from curate.export.forms import Form
from curate.export.lost import left_out, why_lost
from curate.export.pairs import take
from curate.export.survey import Survey
from curate.schema import COLUMNS

SLICE_ROWS = 1024  # input rows reshaped at once: bounds memory, forms are row-local
BATCH_ROWS = 1000  # records to an Arrow batch and a Parquet row group
BATCH_BYTES = 64 << 20  # of text; a heavier batch is halved, so that offsets never overflow
DEFAULT_SPLIT = "train"


class Exported(NamedTuple):
    """A hash of each exported row's id (uint64) and its number of records (int32)."""

    key: pa.Array
    records: pa.Array


class ExportSummary(NamedTuple):
    """Input rows that gave a record, rows that gave none by reason, and records by split.

    `pairs_dropped` are pairs that the export alone left out, of rows that gave records.
    """

    rows_exported: int
    rows_dropped: dict[str, int]
    records: int
    splits: dict[str, int]
    pairs_dropped: Mapping[str, int] = MappingProxyType({})


@dataclass
class Tally:
    """What became of the rows so far."""

    rows_exported: int = 0
    rows_dropped: Counter[str] = field(default_factory=Counter)
    pairs_dropped: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    _exported: list[Exported] = field(default_factory=list)

    def add(self, ids: pa.Array | None, kept: np.ndarray[Any, Any], counts: Any) -> None:
        """Count rows `kept` of a table as exported, with `counts` records each."""
        self.rows_exported += len(kept)
        if ids is not None:
            keys = pa.array(hashes(ids)[kept], pa.uint64())
            self._exported.append(Exported(keys, pa.array(counts, pa.int32())))

    def exported(self) -> Exported:
        """Return the exported rows that have an id, in source order."""
        empty = Exported(pa.array([], pa.uint64()), pa.array([], pa.int32()))
        columns = zip(empty, *self._exported, strict=True)
        return Exported(*(pa.concat_arrays(parts) for parts in columns))

    def summary(self) -> ExportSummary:
        """Return the counts, `train` before the other splits."""
        order = sorted(self.splits, key=lambda split: (split != DEFAULT_SPLIT, split))
        splits = {split: self.splits[split] for split in order}
        rows, pairs = (dict(sorted(c.items())) for c in (self.rows_dropped, self.pairs_dropped))
        return ExportSummary(self.rows_exported, rows, sum(splits.values()), splits, pairs)


def reshape(
    tables: Iterable[pa.Table], form: str, shape: Form, tally: Tally, known: Survey
) -> Iterator[tuple[pa.Array, pa.Table]]:
    """Yield (split of each record, records) in source order, and count into `tally`.

    `known` is what the survey of the same tables found. At least one pair is yielded, with no
    records if there are none, so that the columns are known. Raises ConfigError where the form's
    columns are missing, and StageError where a later table's records have other columns or types
    than the first's.
    """
    first: pa.Schema | None = None
    so_far = Counter[str]()
    for number, table in enumerate(_at_least_one(tables, shape)):
        missing = [name for name in shape.needs if name not in table.column_names]
        if missing:
            raise ConfigError(
                f"export form {form!r} needs the column(s) {', '.join(missing)}, which no stage "
                f"wrote; add the stage that does, or choose another form; columns here: "
                f"{', '.join(table.column_names)}"
            )
        for start in range(0, max(len(table), 1), SLICE_ROWS):
            part = _solid(table.slice(start, SLICE_ROWS))
            built = shape.build(part)
            records, rows = known.dress(part, built), built.rows
            splits = _splits(part, rows)
            if shape.numbered is not None:
                records = shape.numbered(records, splits, _numbers(splits, so_far))
            first = first or records.schema.remove_metadata()
            if not records.schema.remove_metadata().equals(first):
                raise StageError(
                    f"export: the columns of table {number} are not those of table 0: "
                    f"{_difference(first, records.schema)}; rerun the stage that wrote them"
                )
            kept, counts = np.unique(rows, return_counts=True)
            ids = one_chunk(part["id"]) if "id" in part.column_names else None
            tally.add(ids, kept, counts)
            reasons = why_lost(part, kept, shape, counted=True)
            tally.rows_dropped.update(reasons.drop_null().to_pylist())
            tally.pairs_dropped.update(left_out(part, kept, shape))
            yield splits, records


def lost_rows(tables: Iterable[pa.Table], shape: Form) -> Iterator[tuple[str, str]]:
    """Yield (id, why) of the rows that give no record, in source order; see `lost.why_lost`."""
    for table in tables:
        for start in range(0, len(table), SLICE_ROWS):
            part = _solid(table.slice(start, SLICE_ROWS))
            reasons = why_lost(part, shape.build(part).rows, shape)
            ids = part["id"].filter(reasons.is_valid())
            yield from zip(ids.to_pylist(), reasons.drop_null().to_pylist(), strict=True)


def by_split(stream: Iterator[tuple[pa.Array, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
    """Yield (split, its records) for each part of the stream, splits in order of appearance."""
    for splits, records in stream:
        names = pc.unique(splits).to_pylist() or [DEFAULT_SPLIT]
        for name in names:
            whole = len(names) == 1
            yield name, records if whole else records.filter(pc.equal(splits, name))


class Batches:
    """Collects one split's tables and gives them back in batches of fixed size."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """Take in records; yield the batches that are now full."""
        self._waiting.append(table)
        self._rows += len(table)
        if self._rows >= BATCH_ROWS:
            together = pa.concat_tables(self._waiting)
            full = self._rows - self._rows % BATCH_ROWS
            for start in range(0, full, BATCH_ROWS):
                yield from _cut(together.slice(start, BATCH_ROWS))
            self._waiting, self._rows = [together.slice(full)], self._rows - full

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Yield what is left."""
        if self._rows:
            yield from _cut(pa.concat_tables(self._waiting))
        self._waiting, self._rows = [], 0


def text_bytes(array: pa.Array) -> int:
    """Return the bytes of all strings in an array, nested ones included."""
    kind = array.type
    if pa.types.is_struct(kind):
        return sum(text_bytes(pc.struct_field(array, i)) for i in range(kind.num_fields))
    if pa.types.is_list(kind):
        return text_bytes(flat(array))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return int(pc.sum(pc.cast(pc.binary_length(array), pa.int64())).as_py() or 0)
    return 0


def _cut(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Halve until a batch is light enough; where it is cut depends on the records alone."""
    weight = sum(text_bytes(chunk) for column in table.columns for chunk in column.chunks)
    if weight > BATCH_BYTES and len(table) > 1:
        half = len(table) // 2
        yield from _cut(table.slice(0, half))
        yield from _cut(table.slice(half))
        return
    arrays = [canonical(one_chunk(column)) for column in table.columns]
    yield pa.RecordBatch.from_arrays(arrays, schema=table.schema.remove_metadata())


def _at_least_one(tables: Iterable[pa.Table], shape: Form) -> Iterator[pa.Table]:
    empty = True
    for table in tables:
        empty = False
        yield table
    if empty:
        yield pa.schema([(name, COLUMNS[name]) for name in shape.needs]).empty_table()


def _solid(table: pa.Table) -> pa.Table:
    """Return the table with one chunk a column, also where it has no rows."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        columns[name] = one_chunk(table[name])
        if columns[name].type != COLUMNS.get(name, columns[name].type):
            columns[name] = columns[name].cast(COLUMNS[name])
    return pa.table(columns)


def _splits(part: pa.Table, rows: np.ndarray[Any, Any]) -> pa.Array:
    if "split" not in part.column_names:
        return pa.repeat(pa.scalar(DEFAULT_SPLIT), len(rows))
    return pc.fill_null(take(part["split"], rows), DEFAULT_SPLIT)


def _numbers(splits: pa.Array, so_far: Counter[str]) -> pa.Array:
    """Return each record's number (int64) in its split, counting on from `so_far`."""
    numbers = np.zeros(len(splits), dtype=np.int64)
    for split in pc.unique(splits).to_pylist():
        at = np.flatnonzero(pc.equal(splits, split).to_numpy(zero_copy_only=False))
        numbers[at] = so_far[split] + np.arange(len(at))
        so_far[split] += len(at)
    return pa.array(numbers)


def _difference(first: pa.Schema, other: pa.Schema) -> str:
    ours, theirs = ({f.name: str(f.type) for f in s} for s in (first, other))
    names = [n for n in [*ours, *theirs] if ours.get(n) != theirs.get(n)]
    return ", ".join(f"{n}: {ours.get(n)} / {theirs.get(n)}" for n in dict.fromkeys(names))
