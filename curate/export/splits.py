"""Each split's records to its own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from curate.errors import StageError
from curate.export.files import ShardedFiles
from curate.export.records import DEFAULT_SPLIT, Batches, Tally

MAX_SPLITS = 64
RESERVED_SPLITS = frozenset({"all", "data"})  # `all` means every split; `data` holds the Parquet

Writers = tuple[ShardedFiles, ...]


def write_splits(
    stream: Iterator[tuple[str, pa.Table]],
    start: Callable[[str, pa.Schema], Writers],
    finish: Callable[[str, Writers], Any],
    tally: Tally,
    dress: Callable[[pa.Schema], pa.Schema] = lambda schema: schema,
) -> None:
    """Send each split's records to its writers in batches; `train` exists in any case."""
    writers: dict[str, Writers] = {}
    batches: dict[str, Batches] = {}
    schema = pa.schema([])

    def begin(split: str) -> None:
        if len(writers) >= MAX_SPLITS:
            raise StageError(f"export: more than {MAX_SPLITS} splits; check the column `split`")
        checked = _checked(split)  # before any folder is made from it
        writers[checked] = start(checked, dress(schema))
        batches[split] = Batches()

    try:
        for split, table in stream:
            schema = table.schema.remove_metadata()
            if len(table) and split not in writers:
                begin(split)
            if len(table):
                tally.splits[split] += len(table)
                _send(batches[split].add(table), writers[split])
        if DEFAULT_SPLIT not in writers:
            begin(DEFAULT_SPLIT)
            tally.splits[DEFAULT_SPLIT] = 0
        for split in sorted(writers):
            _send(batches[split].rest(), writers[split])
            finish(split, writers[split])
    except BaseException:
        for group in writers.values():
            for writer in group:
                writer.abandon()
        raise


def _send(batches: Iterator[pa.RecordBatch], writers: Writers) -> None:
    for batch in batches:
        for writer in writers:
            writer.write(batch.cast(writer.schema))


def _checked(split: str) -> str:
    """A split names files, so it must be a plain word (`datasets` asks for that too)."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", split) or split in RESERVED_SPLITS:
        raise StageError(
            f"export: {split[:80]!r} cannot name a split; use letters, digits and _ "
            f"(not {', '.join(sorted(RESERVED_SPLITS))}) in the column `split`"
        )
    return split
