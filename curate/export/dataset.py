"""Export: the only place where rows change shape.

`export_dataset` writes one folder that is read three ways: `datasets.load_from_disk(out)`
(memory-mapped Arrow, always a DatasetDict with `train`), `datasets.load_dataset(out)` and a
push to the Hub (`data/*.parquet` and the card).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

from curate.disk import sync, writing
from curate.errors import ConfigError, StageError, did_you_mean
from curate.export.card import CardFacts, dataset_card
from curate.export.catalogue import form_named
from curate.export.files import (
    FileFormat,
    ShardedFiles,
    open_file,
    replacing_folder,
    write_text,
)
from curate.export.records import DEFAULT_SPLIT, Batches, Tally, by_split, reshape
from curate.export.trust import Trust

MAX_SPLITS = 64
RESERVED_SPLITS = frozenset({"all", "data"})  # `all` means every split; `data` holds the Parquet
FILE_FORMATS: tuple[FileFormat, ...] = ("parquet", "jsonl")

Writers = tuple[ShardedFiles, ...]


class ExportSummary(NamedTuple):
    """Input rows that gave a record, rows that gave none by reason, and records by split."""

    rows_exported: int
    rows_dropped: dict[str, int]
    records: int
    splits: dict[str, int]


def export_dataset(
    tables: Iterable[pa.Table],
    out: Path,
    *,
    form: str,
    card: CardFacts,
    tally: Tally | None = None,
) -> ExportSummary:
    """Write the rows of `tables` as a Hugging Face dataset at `out`, replacing an older one.

    `tables` are canonical tables of rows still alive, in source order; the files do not depend
    on how the rows are cut into tables. Every input row is counted once, as exported or under
    the reason why it gave no record, in `tally` too where one is given. Without any record
    `train` has zero rows (which `load_from_disk` reads; `load_dataset` itself refuses an empty
    split). Raises ConfigError for an unknown form, missing columns or an `out` that is not an
    export, and StageError for a bad split name or tables that do not agree.
    """
    shape, tally = form_named(form), tally or Tally()
    with replacing_folder(out, ("dataset_dict.json",)) as fresh:

        def start(split: str, schema: pa.Schema) -> Writers:
            return (
                ShardedFiles(fresh / split, "data", "arrow", schema),
                ShardedFiles(fresh / "data", split, "parquet", schema),
            )

        def finish(split: str, writers: Writers) -> None:
            arrow, parquet = writers
            _describe(fresh / split, arrow.close(), split, arrow.schema)
            parquet.close()

        trust = Trust()
        stream = by_split(reshape(trust.watch(tables), form, shape, tally))
        _write_splits(stream, start, finish, tally, _with_features)
        summary = _summary(tally)
        write_text(fresh / "dataset_dict.json", json.dumps({"splits": list(summary.splits)}))
        write_text(
            fresh / "README.md",
            dataset_card(
                card, form, summary.splits, summary.rows_dropped, summary.rows_exported, trust
            ),
        )
        if shape.llama_factory is not None:
            paths = [fresh / "data"]
            if len(summary.splits) > 1:
                paths = sorted(paths[0].iterdir())
            _describe_files(fresh, card.name, paths, shape.llama_factory)
    return summary


def write_form(
    tables: Iterable[pa.Table], path: Path, form: str, file_format: str = "parquet"
) -> ExportSummary:
    """Write the records as plain files.

    A `path` that ends in `.parquet` or `.jsonl` becomes one file with all splits in source
    order; any other is a folder of `<split>-00000-of-0000N.<format>` files, which replaces an
    earlier one; a form for LLaMA-Factory has its `dataset_info.json` beside them. Raises as
    `export_dataset`.
    """
    if file_format not in FILE_FORMATS:
        hint = did_you_mean(file_format, FILE_FORMATS)
        raise ConfigError(f"unknown file format {file_format!r}{hint}")
    kind: FileFormat = "jsonl" if file_format == "jsonl" else "parquet"
    shape, tally = form_named(form), Tally()
    records = reshape(tables, form, shape, tally)
    if path.suffix in {".parquet", ".jsonl"}:
        if path.suffix != f".{kind}":
            raise ConfigError(f"{path.name} ends in {path.suffix}, but the format is {kind}")
        _write_one(records, path, kind, tally)
        return _summary(tally)
    with replacing_folder(path, ("export.json",)) as fresh:
        _write_splits(
            by_split(records),
            lambda split, schema: (ShardedFiles(fresh, split, kind, schema),),
            lambda _, writers: writers[0].close(),
            tally,
        )
        summary = _summary(tally)
        if shape.llama_factory is not None:
            _describe_files(fresh, path.name, sorted(fresh.glob(f"*.{kind}")), shape.llama_factory)
        write_text(fresh / "export.json", json.dumps({"form": form, **summary._asdict()}) + "\n")
    return summary


def _describe_files(
    folder: Path, name: str, paths: Sequence[Path], facts: Mapping[str, Any]
) -> None:
    """Write LLaMA-Factory's `dataset_info.json` for the files, or the folder, in `paths`.

    One path is one entry called `name`; several are an entry each, as an entry takes one file
    or a whole folder.
    """
    names = [name] if len(paths) == 1 else [f"{name}-{path.stem}" for path in paths]
    entries = {
        entry: {"file_name": path.relative_to(folder).as_posix(), **facts}
        for entry, path in zip(names, paths, strict=True)
    }
    write_text(folder / "dataset_info.json", json.dumps(entries, indent=2) + "\n")


def _write_splits(
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


def _write_one(
    records: Iterator[tuple[pa.Array, pa.Table]], path: Path, kind: FileFormat, tally: Tally
) -> None:
    fresh = path.with_name(f".{path.name}.writing")
    batches, writer = Batches(), None
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            for splits, table in records:
                writer = writer or open_file(fresh, kind, table.schema.remove_metadata())
                tally.splits.update(Counter(splits.to_pylist()))
                for batch in batches.add(table):
                    writer.write_batch(batch)
            for batch in batches.rest():
                if writer is not None:  # `reshape` yields at least once
                    writer.write_batch(batch)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            if writer is not None:
                writer.close()
        sync(fresh)
        fresh.replace(path)
        sync(path.parent)


def _checked(split: str) -> str:
    """A split names files, so it must be a plain word (`datasets` asks for that too)."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", split) or split in RESERVED_SPLITS:
        raise StageError(
            f"export: {split[:80]!r} cannot name a split; use letters, digits and _ "
            f"(not {', '.join(sorted(RESERVED_SPLITS))}) in the column `split`"
        )
    return split


def _with_features(schema: pa.Schema) -> pa.Schema:
    """Add the metadata from which `datasets` restores a column's exact features."""
    from datasets import Features

    features = Features.from_arrow_schema(schema).to_dict()
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _describe(folder: Path, files: list[Path], split: str, schema: pa.Schema) -> None:
    """Write the two JSON files that `load_from_disk` reads beside a split's Arrow files."""
    from datasets import DatasetInfo, Features

    info = asdict(DatasetInfo(features=Features.from_arrow_schema(schema)))
    state: dict[str, Any] = {
        "_data_files": [{"filename": file.name} for file in files],
        "_fingerprint": _fingerprint(files),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    write_text(folder / "state.json", json.dumps(state, indent=2))
    write_text(folder / "dataset_info.json", json.dumps(dict(sorted(info.items())), indent=2))


def _fingerprint(files: list[Path]) -> str:
    """Return 16 hexadecimal digits of the files' content: `datasets` keys its caches by it."""
    digest = xxhash.xxh3_64()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _summary(tally: Tally) -> ExportSummary:
    order = sorted(tally.splits, key=lambda split: (split != DEFAULT_SPLIT, split))
    splits = {split: tally.splits[split] for split in order}
    dropped = dict(sorted(tally.rows_dropped.items()))
    return ExportSummary(tally.rows_exported, dropped, sum(splits.values()), splits)
