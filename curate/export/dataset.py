"""Export: the only place where rows change shape.

`export_dataset` writes one folder that is read three ways: `datasets.load_from_disk(out)`
(memory-mapped Arrow, always a DatasetDict with `train`), `datasets.load_dataset(out)` and a
push to the Hub (`data/*.parquet` and the card).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from curate.disk import sync
from curate.export.card import CardFacts, dataset_card
from curate.export.catalogue import form_named
from curate.export.files import ShardedFiles, replacing_folder, write_text
from curate.export.records import ExportSummary, Tally, by_split, reshape
from curate.export.splits import Writers, write_splits
from curate.export.survey import survey
from curate.export.trainer_files import describe_files
from curate.export.trust import Trust


def export_dataset(
    tables: Iterable[pa.Table],
    out: Path,
    *,
    form: str,
    card: CardFacts,
    keep: Sequence[str] = (),
    tally: Tally | None = None,
) -> ExportSummary:
    """Write the rows of `tables` as a Hugging Face dataset at `out`, replacing an older one.

    `tables` are canonical tables of rows still alive, in source order (some forms look over them
    first, so give `Again` rather than a generator of many); the files do not depend on how the
    rows are cut into tables. `keep` names columns to put beside the form's own, as in `survey`.
    Every input row is counted once, as exported or under the reason why
    it gave no record, in `tally` too where one is given. Without any record `train` has zero rows
    (which `load_from_disk` reads; `load_dataset` itself refuses an empty split). Raises
    ConfigError for an unknown form, missing columns or an `out` that is not an export, and
    StageError for a bad split name or tables that do not agree.
    """
    shape, tally = form_named(form), tally or Tally()
    known, tables = survey(tables, shape, keep)
    with replacing_folder(out, ("dataset_dict.json",)) as fresh:
        sizes: dict[str, int] = {}
        schemas: list[pa.Schema] = []

        def start(split: str, schema: pa.Schema) -> Writers:
            return (
                ShardedFiles(fresh / split, "data", "arrow", schema),
                ShardedFiles(fresh / "data", split, "parquet", schema),
            )

        def finish(split: str, writers: Writers) -> None:
            arrow, parquet = writers
            paths = arrow.close()
            _describe(fresh / split, paths, split, arrow.schema)
            parquet.close()
            sizes[split] = sum(path.stat().st_size for path in paths)
            schemas.append(arrow.schema)

        trust = Trust(card.rows)
        stream = by_split(reshape(trust.watch(tables), form, shape, tally, known))
        write_splits(stream, start, finish, tally, _with_features)
        summary = tally.summary()
        write_text(fresh / "dataset_dict.json", json.dumps({"splits": list(summary.splits)}))
        info = hub_info(schemas[0], summary.splits, sizes, fresh / "data")
        text = dataset_card(card, form, summary, trust, info=info)
        write_text(fresh / "README.md", text)
        if shape.llama_factory is not None:
            paths = [fresh / "data"]
            if len(summary.splits) > 1:
                paths = sorted(paths[0].iterdir())
            describe_files(fresh, card.name, paths, shape.llama_factory)
    return summary


def hub_info(
    schema: pa.Schema, records: Mapping[str, int], sizes: Mapping[str, int], data: Path
) -> dict[str, Any]:
    """Return the Hub's `dataset_info` as `datasets` itself writes it for a card.

    `records` and `sizes` in bytes are those of each split, `data` the folder to download.
    """
    from datasets import DatasetInfo, Features
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    splits = {name: SplitInfo(name, sizes[name], count) for name, count in records.items()}
    info = DatasetInfo(
        features=Features.from_arrow_schema(schema),
        splits=SplitDict(splits),
        download_size=sum(path.stat().st_size for path in data.iterdir()),
        dataset_size=sum(sizes.values()),
    )
    card = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(card)
    return dict(card["dataset_info"])


def _with_features(schema: pa.Schema) -> pa.Schema:
    """Add the metadata from which `datasets` restores a column's exact features."""
    from datasets import Features

    features = Features.from_arrow_schema(schema).to_dict()
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _describe(folder: Path, files: list[Path], split: str, schema: pa.Schema) -> None:
    """Write the two JSON files that `load_from_disk` reads beside a split's Arrow files.

    The library writes the state only together with the rows, which are here already; a test
    holds this one to its own.
    """
    from datasets import DatasetInfo, Features

    DatasetInfo(features=Features.from_arrow_schema(schema)).write_to_directory(str(folder))
    sync(folder / "dataset_info.json")
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


def _fingerprint(files: list[Path]) -> str:
    """Return 16 hexadecimal digits of the files' content: `datasets` keys its caches by it."""
    digest = xxhash.xxh3_64()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
