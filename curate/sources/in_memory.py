"""Rows that are in memory: how to give them to a run, which reads files so that it can resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

_SUFFIXES = {
    ".parquet": "Parquet", ".arrow": "Arrow", ".jsonl": "Jsonl", ".json": "Jsonl", ".gz": "Jsonl",
    ".zst": "Jsonl",
}  # fmt: skip
_WRITERS = {
    "polars.DataFrame": "source.write_parquet('rows.parquet')",
    "polars.LazyFrame": "source.sink_parquet('rows.parquet')",
    "pandas.DataFrame": "source.to_parquet('rows.parquet')",
    "datasets.Dataset": "source.to_parquet('rows.parquet')",
    "pyarrow.Table": "pyarrow.parquet.write_table(source, 'rows.parquet')",
}


def how_to_read(source: object) -> str:
    """Return what `source`, which is no source, is, and what to write in its place."""
    return f"a {type(source).__name__}; {_instead(source)}"


def _instead(source: object) -> str:
    kind = type(source)
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    if isinstance(source, str | PurePath):
        reader = _SUFFIXES.get(PurePath(source).suffix.lower(), "Jsonl")
        return f"a path is named with its kind, as in curate.{reader}(path={str(source)!r})"
    if name == "datasets.DatasetDict":
        return (
            "a run reads files, so that it can resume: source.save_to_disk('rows'), then "
            "curate.HuggingFace(path='rows', split='train')"
        )
    written = _WRITERS.get(name)
    if written is None and isinstance(source, list) and source and isinstance(source[0], Mapping):
        written = "polars.DataFrame(source).write_parquet('rows.parquet')"
    if written is not None:
        return (
            f"a run reads files, so that it can resume: {written}, then "
            "curate.Parquet(path='rows.parquet')"
        )
    return "it is an object such as curate.Jsonl(path='rows.jsonl')"
