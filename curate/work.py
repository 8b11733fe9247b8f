"""What runs on a worker: put a shard's view together, apply a stage (or a piece), commit the part.

A shard is its parts: the source's and one a stage. A part holds only the columns its stage
wrote, for the rows that were alive then. The view of a stage is folded from the parts in
order: columns are added, replaced or appended to, and rows dropped on the way are left out.
"""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from curate.arrays import Column, concat_lists, one_chunk, plain_type
from curate.division import Piece, Space
from curate.engines.contract import Engine
from curate.errors import StageError, enough_memory
from curate.fate import INSIDE, alive, dropped_inside, outcome
from curate.meter import Meters
from curate.schema import COLUMNS, DROP, FAIL
from curate.stage import Context, Result, Stage
from curate.store import VECTORS, Part, Record, Store, digest
from curate.vector_cache import USED

_MOST_MAPPED = 16_384  # files that one task keeps mapped
_COPIED_AT_ONCE = 64  # shards; a stack of their texts stays below the 2 GiB of Arrow's offsets


@dataclass(frozen=True)
class Shard:
    """One shard after some stages: its parts, and digests of what they add up to."""

    index: int
    parts: tuple[Record, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)  # name -> digest of its values
    alive: str = ""  # digest of which rows are left

    def advance(self, record: Record) -> Shard:
        """Return the shard with one more part."""
        columns = dict(self.columns)
        for name in record.columns:
            if name not in (DROP, FAIL):
                before = columns.get(name, "") if name in record.appends else ""
                columns[name] = digest([before, record.sha256, name, self.alive])
        lost = record.rows_out != record.rows_in
        alive = digest([self.alive, record.sha256]) if lost or not self.parts else self.alive
        return Shard(self.index, (*self.parts, record), columns, alive)

    @property
    def rows(self) -> int:
        """Rows still alive."""
        return self.parts[-1].rows_out if self.parts else 0


@dataclass(frozen=True)
class Task:
    """A stage's work on one shard (or, of dataset scope, on all): paths, never rows.

    Of a divided stage it is one `piece`, which commits nothing and so has no keys; or, without a
    piece, the result of the shards of one `span`. One with `failures` is done again: the part that
    is there has so many, and stays unless it has fewer now.
    """

    shards: tuple[Shard, ...]
    keys: tuple[str, ...]
    space: Space | None = None
    span: int = 0
    piece: Piece | None = None
    failures: int | None = None


def view_columns(stage: Stage, shard: Shard) -> list[str]:
    """Return the columns that the stage gets to see."""
    wanted = dict.fromkeys((*stage.needed(), *stage.used()))
    return [name for name in wanted if name in shard.columns]


def view(store: Store, shard: Shard, columns: Sequence[str]) -> dict[str, pa.Array]:
    """Return the named columns of the rows alive after the shard's last part."""
    found: dict[str, pa.Array] = {}
    for record in shard.parts:
        lost = record.rows_out != record.rows_in
        reserved = [name for name in (DROP, FAIL) if lost and name in record.columns]
        new = store.read(record, [*columns, *reserved])
        for name in [n for n in new if n not in (DROP, FAIL)]:
            if name in COLUMNS:  # an older store lacks fields that came later: they are null
                new[name] = new[name].cast(COLUMNS[name])
            old = found.get(name) if name in record.appends else None
            found[name] = new[name] if old is None else concat_lists(old, new[name])
        if lost:
            mask = alive(new, record.rows_in)
            found = {name: column.filter(mask) for name, column in found.items()}
    return found


def live_tables(store: Store, shards: Iterable[Shard]) -> Iterator[pa.Table]:
    """Yield each shard's live rows with every column, in the order of the source."""
    for shard in shards:
        yield pa.table(view(store, shard, list(shard.columns)))


def run_task(
    store: Store,
    stage: Stage,
    task: Task,
    engines: Mapping[str, Engine],
    seed: int,
    meters: Meters | None = None,  # of what the stage does itself, for whoever watches
) -> list[Record]:
    """Apply the stage to the task's shards and commit one part for each; a piece commits none."""
    context = Context(seed, engines, vectors=store.root / VECTORS, meters=meters or Meters())
    rows = sum(shard.rows for shard in task.shards)
    with enough_memory(f"stage `{stage.kind}`, over {rows} rows,"):
        return _done(store, stage, task, context)


def _done(store: Store, stage: Stage, task: Task, context: Context) -> list[Record]:
    started, sizes = time.perf_counter(), [shard.rows for shard in task.shards]
    shards = task.shards
    table = stacked(store, shards, view_columns(stage, shards[0])) if shards else None
    try:
        given = _applied(stage, task, table, context)
    except SystemExit as error:  # it would end the run, without a word and perhaps with code 0
        raise StageError(f"stage `{stage.kind}` asked the process to exit ({error})") from error
    if given is None:
        return []
    result = check_result(stage, given, sum(sizes))
    counted = _whole_numbers(stage, context.counts)
    used = {role: dict(context.engines[role].describe()) for role, _ in stage.engine_roles()}
    seconds = time.perf_counter() - started
    vectors = {USED: sorted(context.vectors_used)} if context.vectors_used else {}
    inside = dropped_inside(result, table, sum(sizes))

    def parts() -> Iterator[Part]:
        start, spent, counts = 0, seconds, counted
        info = {**vectors, **({INSIDE: inside} if inside is not None else {})}
        for key, size in zip(task.keys, sizes, strict=True):
            mine = {name: column.slice(start, size) for name, column in result.items()}
            columns = _own(mine, size)
            record = _record(stage, key, columns, size, counts, spent, used)
            yield replace(record, info=info), columns
            start, spent, counts = start + size, 0.0, {}  # the first part has the sums
            info = {INSIDE: {}} if inside is not None else {}

    try:
        if len(task.keys) == 1:  # the rule: no threads for it
            return [_committed(store, next(parts()), task.failures)]
        return list(store.commit_all(parts(), lambda part: part))
    except OverflowError as error:
        raise StageError(f"stage `{stage.kind}`: {error}") from error


def _committed(store: Store, part: Part, failures: int | None) -> Record:
    """Commit the part, over one of so many failures if it has fewer; return the one that counts."""
    record, columns = part
    if failures is None:
        return store.commit(record, columns)
    there = store.find(record.stage, record.key)
    if there is not None and record.failures >= failures:
        return there
    return store.commit(record, columns, over=True)


def _applied(stage: Stage, task: Task, table: pa.Table | None, context: Context) -> Result | None:
    """Return the stage's columns for the task's rows, or for a piece None."""
    if task.space is None:
        return stage.apply(table, context)
    division = stage.division()
    if division is None:
        raise StageError(f"stage `{stage.kind}` does not divide")
    if task.piece is None:
        context.vectors_used |= set() if task.span else task.space.used()
        return division.result(task.span, table, task.space, context.counts)
    division.work(task.piece, table, task.space)
    return None


def stacked(store: Store, shards: Sequence[Shard], names: Sequence[str]) -> pa.Table:
    """Return the shards' views one below the other; those of very many, copied out of their files.

    Linux lets a process map 65,530 files, and other tasks have theirs mapped too.
    """
    read = list(names) or ["id"]  # a stage that needs no column is told the number of rows
    copied = sum(len(shard.parts) for shard in shards) > _MOST_MAPPED
    tables = []
    for start in range(0, len(shards), _COPIED_AT_ONCE):
        views = [view(store, shard, read) for shard in shards[start : start + _COPIED_AT_ONCE]]
        table = pa.table({name: pa.chunked_array([v[name] for v in views]) for name in read})
        if copied:
            # Texts of more than 2 GiB stay where they are.
            with contextlib.suppress(pa.ArrowInvalid):
                table = table.combine_chunks()
        tables.append(table)
    return pa.concat_tables(tables).select(names)


def check_result(stage: Stage, result: Result, rows: int) -> dict[str, pa.Array]:
    """Hold the stage to its contract: declared columns, their types, one value a row.

    A layout of which Arrow has several (long texts, views, dictionaries) becomes the one that is
    stored; see `arrays.plain_type`. Raises StageError naming the stage and the column.
    """
    allowed = {*stage.written(), *stage.appends, DROP, FAIL}
    columns = {}
    for name, column in result.items():
        if name not in allowed:
            raise StageError(f"stage `{stage.kind}` returned {name!r}, which it does not declare")
        if len(column) != rows:
            raise StageError(
                f"stage `{stage.kind}` returned {len(column)} values of {name!r} for {rows} rows"
            )
        array = _storable(stage, name, column)
        expected = pa.string() if name in (DROP, FAIL) else COLUMNS.get(name, array.type)
        if array.type != expected:
            raise StageError(f"stage `{stage.kind}`: {name!r} is {array.type}, not {expected}")
        columns[name] = array
    missing = {*stage.written(), *stage.appends} - set(columns)
    if missing:
        raise StageError(f"stage `{stage.kind}` did not return {sorted(missing)}")
    return columns


def _storable(stage: Stage, name: str, column: Column) -> pa.Array:
    """Return the column as one array of a type that parts can hold."""
    kind = plain_type(column.type)
    if kind is None:
        raise StageError(
            f"stage `{stage.kind}`: {name!r} is {column.type}, which cannot be stored; cast it to "
            "text, numbers, booleans, or lists or structs of these"
        )
    try:
        return one_chunk(column if column.type == kind else column.cast(kind))
    except pa.ArrowException as error:
        raise StageError(
            f"stage `{stage.kind}`: {name!r} is {column.type} and does not become {kind}: {error}"
        ) from error


def _whole_numbers(stage: Stage, counts: Mapping[str, Any]) -> dict[str, int]:
    """Return the counters as plain integers, of whichever library's they are."""
    try:
        return {name: operator.index(number) for name, number in counts.items()}
    except TypeError:
        raise StageError(
            f"stage `{stage.kind}`: a counter is no whole number: {dict(counts)}"
        ) from None


def _own(columns: dict[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    """Leave out reasons where there are none; a part without columns keeps them, and a row count.

    For each shard by itself, so that its part does not depend on what happened to other shards.
    """
    own = {n: c for n, c in columns.items() if n not in (DROP, FAIL) or c.null_count < rows}
    return own or {DROP: pa.nulls(rows, pa.string())}


def _record(
    stage: Stage,
    key: str,
    columns: Mapping[str, pa.Array],
    rows: int,
    counts: Mapping[str, int],
    seconds: float,
    engines: dict[str, dict[str, str]],
) -> Record:
    return Record(
        stage=stage.kind,
        key=key,
        file="",
        sha256="",
        columns=tuple(columns),
        appends=stage.appends,
        seconds=round(seconds, 6),
        counts=dict(counts),
        engines=engines,
        **outcome(columns, rows),
    )
