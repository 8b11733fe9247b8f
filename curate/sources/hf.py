"""Hugging Face datasets: a directory that save_to_disk wrote, or a pinned hub dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from curate.errors import ConfigError, InputError, did_you_mean
from curate.sources.contract import BATCH_ROWS, Source, Unit
from curate.sources.files import file_digest

_SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves in a folder


class HuggingFace(Source, name="hf"):
    """A dataset by directory or by hub name; a hub name needs a `revision`.

    A directory is one that `save_to_disk` wrote, or one that `load_dataset` reads, such as a cloned
    repository or a folder of Parquet files.

    Code that a dataset brings along is never run.
    """

    path: str = Field(min_length=1)
    """A directory, relative to the one in which the command runs, or a name on the Hub."""
    name: str | None = None
    """The Hub dataset's configuration."""
    split: str = "train"
    """The split to read."""
    revision: str | None = None
    """The Hub commit to read; required for a dataset of the Hub."""

    def parts(self) -> list[Unit]:
        """Return the one unit that this split is; its digest covers the Arrow files' content."""
        dataset = self._load()
        digests = [file_digest(str(file["filename"])) for file in dataset.cache_files]
        content = "\n".join([str(len(dataset)), *digests])
        return [Unit(self._title(), hashlib.sha256(content.encode()).hexdigest())]

    def open(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield the split's batches in order."""
        dataset = self._load()
        if not len(dataset):  # `iter` fails on one without rows
            return
        for table in dataset.with_format("arrow").iter(batch_size=BATCH_ROWS):
            yield from table.combine_chunks().to_batches()

    def _title(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.path}{revision}:{self.split}"

    def _load(self) -> Any:
        import datasets

        folder = Path(self.path)
        if any((folder / name).is_file() for name in _SAVED):
            return self._from_disk(datasets)
        if not folder.is_dir() and self.revision is None:
            raise ConfigError(
                f"source `hf`: {self.path!r} is no directory, and a dataset from the hub needs "
                "`revision` (a commit), or a rerun could read other data"
            )
        try:
            return datasets.load_dataset(
                self.path, self.name, split=self.split, revision=self.revision
            )
        except (
            OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError,
            datasets.exceptions.DatasetGenerationError,
        ) as error:  # fmt: skip
            raise InputError(f"{self._title()}: cannot be loaded: {error}") from None

    def _from_disk(self, datasets: Any) -> Any:
        try:
            loaded = datasets.load_from_disk(self.path)
        except IndexError:  # how `datasets` fails on a set without rows
            raise InputError(f"{self.path}: the dataset has no rows; check `path`") from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path}: cannot be loaded: {error}; it must be a directory that "
                "`save_to_disk` wrote"
            ) from None
        if isinstance(loaded, datasets.DatasetDict):
            if self.split not in loaded:
                hint = did_you_mean(self.split, loaded)
                raise InputError(f"{self.path}: no split {self.split!r}{hint}")
            return loaded[self.split]
        return loaded
