"""The source contract: where rows come from, file by file and shard by shard."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
from pydantic import Field

from curate.component import Component, Registry
from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.mapping import canonical_row, grouped
from curate.sources.nested import reached
from curate.sources.prompts import prompt_table
from curate.sources.tables import is_plain, plain, shards, tabulate
from curate.sources.transcripts import spoken
from curate.sources.values import Raw

BATCH_ROWS = 4096  # rows mapped at once; bounds memory and changes no output


class Unit(NamedTuple):
    """One input file: its name, and a digest of its content in hexadecimal."""

    name: str
    digest: str


source_registry: Registry[Source] = Registry("source")


class Source(Component):
    """Where rows come from; subclass with `class MySource(Source, name="mine")`.

    A row's number counts from 1 (for lines of JSON it is the line's number).
    """

    registry: ClassVar[Registry[Any] | None] = source_registry
    version = 2

    columns: Columns = Field(default_factory=Columns)
    """Which column means what, see below; what is not named is kept as JSON in `meta`."""
    shard_rows: int = Field(512, ge=1)
    """Rows a shard. A shard is the checkpoint: a killed run loses at most those in flight. It is a
    part of every key too, so another number reads the source and does all stages anew."""

    @abstractmethod
    def parts(self) -> list[Unit]:
        """Return one unit per input file, sorted by name. Raises InputError where none is."""

    @abstractmethod
    def open(self, name: str) -> Iterator[list[Raw] | pa.RecordBatch]:
        """Yield the file's rows in order, some at a time: as they are, or as an Arrow batch."""

    def provides(self) -> tuple[str, ...]:
        """Return the canonical columns that every shard will have."""
        return self.columns.provides()

    def units(self) -> list[Unit]:
        """Return the units to read: one a file, or a single one where rows are grouped."""
        parts = self.parts()
        if not self.columns.group:
            return parts
        whole = hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()
        return [Unit(" + ".join(part.name for part in parts), whole)]

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield canonical tables of `shard_rows` rows, the last one perhaps shorter.

        Columns are `provides()`, and `drop` where some row of the shard is dropped. Raises
        InputError naming file, row and column.
        """
        return (table for table, _ in self.shards(unit))

    def shards(self, unit: Unit) -> Iterator[tuple[pa.Table, bool]]:
        """Yield the tables of `read`, each with whether it is the unit's last one."""
        tables = self._grouped() if self.columns.group else self._mapped(unit.name)
        return shards(tables, self.shard_rows)

    def _mapped(self, name: str) -> Iterator[pa.Table]:
        done = 0
        for batch in self.open(name):
            if isinstance(batch, pa.RecordBatch) and is_plain(batch.schema, self.columns):
                yield plain(batch, self.columns, name, done + 1)
            else:
                rows = self._rows(batch, name, done)
                found = prompt_table(rows, self.columns)
                if found is None:
                    mapped = [canonical_row([row], self.columns) for row in rows]
                    found = tabulate(mapped, self.columns)
                yield found
            done += len(batch)

    def _grouped(self) -> Iterator[pa.Table]:
        groups = iter(grouped(self._all_rows(), self.columns))
        while members := list(islice(groups, BATCH_ROWS)):
            yield tabulate([canonical_row(rows, self.columns) for rows in members], self.columns)

    def _all_rows(self) -> Iterator[Raw]:
        for part in self.parts():
            done = 0
            for batch in self.open(part.name):
                yield from self._rows(batch, part.name, done)
                done += len(batch)

    def _rows(self, batch: list[Raw] | pa.RecordBatch, name: str, done: int) -> list[Raw]:
        """Return the rows of a batch behind `done` rows of its file, as the columns read them."""
        return spoken(reached(raw_rows(batch, name, done + 1), self.columns), self.columns)


def raw_rows(batch: list[Raw] | pa.RecordBatch, name: str, first_row: int) -> list[Raw]:
    """Return an Arrow batch's rows as Python values. Raises InputError on invalid UTF-8."""
    if isinstance(batch, list):
        return batch
    if len(set(batch.schema.names)) != len(batch.schema.names):
        raise InputError(f"{name}: two columns have one name; rename one: {batch.schema.names}")
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        raise _not_utf8(batch, name, first_row) from None
    return [Raw(values, f"{name}, row {first_row + i}") for i, values in enumerate(rows)]


def _not_utf8(batch: pa.RecordBatch, name: str, first_row: int) -> InputError:
    """Return the error that names the first row and column whose text is not UTF-8."""
    for row in range(len(batch)):
        for column in batch.schema.names:
            try:
                batch.column(column)[row].as_py()
            except UnicodeDecodeError as error:
                return InputError(
                    f"{name}, row {first_row + row}: column {column!r}: text is not valid UTF-8 "
                    f"({error.reason}); re-encode the file"
                )
    return InputError(f"{name}: text is not valid UTF-8; re-encode the file")
