"""Sets on disk, by path and a mapping: to canonical rows, or to columns of pairs."""

from __future__ import annotations

import glob
import json
import logging
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from curate.errors import ConfigError, InputError
from curate.field_errors import explain
from curate.schema import DROP, reason_kinds
from curate.sources.columns import Columns
from curate.sources.contract import Source
from curate.sources.files import Arrow, Jsonl, Parquet, refuse_table
from curate.sources.hf import HuggingFace

SUFFIXES: Mapping[str, type[Source]] = {
    ".parquet": Parquet, ".arrow": Arrow, ".jsonl": Jsonl, ".json": Jsonl,
    ".gz": Jsonl, ".zst": Jsonl,
}  # fmt: skip
ROWS = 8192
_log = logging.getLogger(__name__)


def open_set(path: str, columns: Columns, split: str = "train") -> Source:
    """Return a source for a file, a pattern, a dataset folder, or a folder of such files.

    Raises InputError where nothing readable is there.
    """
    place = Path(path)
    if place.is_dir() and any((place / n).exists() for n in ("dataset_dict.json", "state.json")):
        return HuggingFace(path=path, split=split, columns=columns, shard_rows=ROWS)
    if place.is_dir():
        return _folder(place, columns)
    suffix = place.suffix.lower()
    refuse_table(path)
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: no dataset folder, and no file that ends in {', '.join(SUFFIXES)}"
        )
    return _files(suffix, path, columns)


def splits(path: str) -> list[str]:
    """Return the splits of a dataset folder; for anything else, which has none, `train`."""
    listed = Path(path) / "dataset_dict.json"
    if not listed.is_file():
        return ["train"]
    try:
        names = json.loads(listed.read_text(encoding="utf-8"))["splits"]
        return [str(name) for name in names]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{listed}: does not list the splits; save the dataset again") from None


def read_rows(source: Source) -> pa.Table:
    """Return all of a source's rows as one canonical table.

    The log says how many rows the source drops, which are left out, and why.
    """
    tables, left_out = [], Counter[str]()
    for unit in source.units():
        for table in source.read(unit):
            if DROP in table.column_names:
                reasons = table[DROP].combine_chunks()
                left_out.update(reason_kinds(reasons.drop_null()).to_pylist())
                table = table.filter(reasons.is_null()).drop_columns([DROP])
            tables.append(table)
    said = ", ".join(f"{why} ({count})" for why, count in sorted(left_out.items()))
    if not sum(len(table) for table in tables):
        raise InputError("the set has no usable row" + (f": {said}" if said else ""))
    if said:
        _log.warning("%d rows of the set are left out: %s", left_out.total(), said)
    return pa.concat_tables(tables)


def raw_tables(source: Source, wanted: Container[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield (file and first row, rows) as they are in the files, some rows at a time.

    Of JSON only the `wanted` columns are kept, the others are null: they may hold anything.
    Raises InputError.
    """
    for part in source.parts():
        done = 0
        for batch in source.open(part.name):
            where = f"{part.name}, from row {done + 1}"
            done += len(batch)
            yield where, _as_table(batch, where, wanted)


def columns_of(mapping: Sequence[str]) -> Columns:
    """Return the columns that `--map meaning=column` options name. Raises ConfigError."""
    fields: dict[str, Any] = {}
    lists = ("group", "varies", "scores", "label")
    for item in mapping:
        meaning, equals, column = item.partition("=")
        if not equals or not column:
            raise ConfigError(f"--map {item!r}: write meaning=column, as in prompt=question")
        if meaning in lists:
            fields[meaning] = (*fields.get(meaning, ()), *column.split(","))
        else:
            fields[meaning] = None if column == "-" else column
    try:
        return Columns.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"--map: {explain(error, Columns)}") from None


def _folder(place: Path, columns: Columns) -> Source:
    for suffix in (".parquet", ".arrow", ".jsonl"):
        if any(place.rglob(f"*{suffix}")):
            return _files(suffix, f"{_literal(place)}/**/*{suffix}", columns)
    raise InputError(f"{place}: holds no dataset and no Parquet, Arrow or JSONL file")


def _literal(place: Path) -> str:
    return glob.escape(str(place))


def _files(suffix: str, path: str, columns: Columns) -> Source:
    return SUFFIXES[suffix].model_validate({"path": path, "columns": columns, "shard_rows": ROWS})


def _is_unicode(value: Any) -> bool:
    """Whether all texts in a value of JSON can be written as UTF-8: a lone surrogate cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_table(batch: Any, where: str, wanted: Container[str]) -> pa.Table:
    if isinstance(batch, pa.RecordBatch):
        return pa.Table.from_batches([batch])
    names = dict.fromkeys(name for row in batch for name in row.values)
    columns = {}
    for name in names:
        if name not in wanted:
            columns[name] = pa.nulls(len(batch))
            continue
        try:
            columns[name] = pa.array([row.values.get(name) for row in batch])
        except UnicodeEncodeError:
            at = next((row.where for row in batch if not _is_unicode(row.values.get(name))), where)
            raise InputError(
                f"{at}: column {name!r} is not valid Unicode; mend the row or leave it out"
            ) from None
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise InputError(
                f"{where}: column {name!r} mixes kinds of values ({error}); make them alike"
            ) from None
    return pa.table(columns)
