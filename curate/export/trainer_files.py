"""Records as plain files, for a trainer to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.disk import sync, writing
from curate.errors import ConfigError, did_you_mean
from curate.export.card import CardFacts, dataset_card
from curate.export.catalogue import form_named
from curate.export.files import (
    ROWS_PER_FILE,
    FileFormat,
    ShardedFiles,
    not_there,
    open_file,
    replacing_folder,
    write_text,
)
from curate.export.records import Batches, ExportSummary, Tally, by_split, reshape
from curate.export.splits import write_splits
from curate.export.survey import survey
from curate.export.trust import Trust

FILE_FORMATS: tuple[FileFormat, ...] = ("parquet", "jsonl")
OTHER_FILES = frozenset({".csv", ".tsv", ".json", ".txt", ".arrow", ".gz", ".zst", ".xlsx"})


@dataclass(frozen=True)
class Layout:
    """What the files of an export are like."""

    format: str = ""
    """parquet or jsonl; by default what the path ends in, and Parquet in a folder."""
    rows_per_file: int = ROWS_PER_FILE
    """Of a folder, and rounded up to whole batches of 1,000 records."""
    keep: Sequence[str] = ()
    """Columns of the rows, or of the source, that stand beside the form's own; see `survey`."""
    force: bool = False
    """Replace a single file that is there; nothing in it tells whether it is an earlier export."""


def write_form(
    tables: Iterable[pa.Table],
    path: Path,
    form: str,
    layout: Layout = Layout(),
    card: CardFacts | None = None,
) -> ExportSummary:
    """Write the records as plain files.

    A `path` that ends in `.parquet` or `.jsonl` becomes one file with all splits in source
    order; any other is a folder of `<split>-00000-of-0000N.<format>` files, which replaces an
    earlier one and has a card where `card` is given; a form for LLaMA-Factory has its
    `dataset_info.json` beside them. Raises as `export_dataset`, and ConfigError for a file that
    is there, or whose name promises another format.
    """
    shape, tally, kind = form_named(form), Tally(), _kind(path, layout.format)
    single = path.suffix.lower() == f".{kind}"
    if single:
        not_there(path, layout.force)
    known, tables = survey(tables, shape, layout.keep)
    if single:
        _write_one(reshape(tables, form, shape, tally, known), path, kind, tally)
        return tally.summary()
    trust = Trust(card.rows if card is not None else 0)
    with replacing_folder(path, ("export.json",)) as fresh:
        write_splits(
            by_split(reshape(trust.watch(tables), form, shape, tally, known)),
            lambda split, schema: (ShardedFiles(fresh, split, kind, schema, layout.rows_per_file),),
            lambda _, writers: writers[0].close(),
            tally,
        )
        done = tally.summary()
        if shape.llama_factory is not None:
            describe_files(fresh, path.name, sorted(fresh.glob(f"*.{kind}")), shape.llama_factory)
        if card is not None:
            text = dataset_card(card, form, done, trust, f"{{}}-*.{kind}")
            write_text(fresh / "README.md", text)
        write_text(fresh / "export.json", json.dumps({"form": form, **done._asdict()}) + "\n")
    return done


def describe_files(
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


def _kind(path: Path, wanted: str) -> FileFormat:
    """Return the format of the files at `path`."""
    if wanted and wanted not in FILE_FORMATS:
        raise ConfigError(f"unknown file format {wanted!r}{did_you_mean(wanted, FILE_FORMATS)}")
    ending = path.suffix.lower()
    for kind in FILE_FORMATS:
        if ending == f".{kind}":
            if wanted not in ("", kind):
                raise ConfigError(f"{path.name} ends in {ending}, but the format is {wanted}")
            return kind
    if ending in OTHER_FILES and not path.is_dir():
        raise ConfigError(
            f"{path.name}: an export is a file that ends in .parquet or .jsonl, or a folder; "
            f"{ending} is none of them"
        )
    return "jsonl" if wanted == "jsonl" else "parquet"


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
