"""Hugging Face datasets: a directory that save_to_disk wrote, or a pinned hub dataset."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from curate.errors import ConfigError, CurateError, InputError, did_you_mean
from curate.hub import COMMIT, at_commit, bars_for_a_terminal, hub_trouble, not_given
from curate.sources.contract import BATCH_ROWS, Source, Unit
from curate.sources.files import file_digest

_SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves in a folder
_REPOSITORY = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


class HuggingFace(Source, name="hf"):
    """A dataset by directory or by hub name; a hub name needs a `revision`.

    A directory is one that `save_to_disk` wrote, or one that `load_dataset` reads, such as a cloned
    repository or a folder of Parquet files.

    Code that a dataset brings along is never run.
    """

    path: str = Field(min_length=1)
    """A directory, relative to the one in which the command runs, or a name on the Hub."""
    name: str | None = Field(default=None, min_length=1)
    """The dataset's configuration, where it has several."""
    split: str = Field(default="train", min_length=1)
    """The split to read, or several one after another: `train+test`."""
    revision: str | None = Field(default=None, min_length=1)
    """The commit, tag or branch of the Hub's dataset to read, required for one; a commit never
    changes. What is stored depends on the commit that a tag or a branch stands for."""

    def parts(self) -> list[Unit]:
        """Return the one unit that this split is; its digest covers the Arrow files' content.

        That of a dataset of the Hub covers its commit too.
        """
        commit = self._commit()
        dataset = self._load(commit)
        digests = [file_digest(str(file["filename"])) for file in dataset.cache_files]
        content = "\n".join([str(len(dataset)), *filter(None, [commit]), *digests])
        return [Unit(self._unit(commit), hashlib.sha256(content.encode()).hexdigest())]

    def open(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield the split's batches in order, of the commit that the unit's name tells."""
        at = name.removeprefix(self.path).removesuffix(f":{self.split}")
        dataset = self._load(at.removeprefix("@"))
        if not len(dataset):  # `iter` fails on one without rows
            return
        for table in dataset.with_format("arrow").iter(batch_size=BATCH_ROWS):
            yield from table.combine_chunks().to_batches()

    def _unit(self, commit: str) -> str:
        return f"{self.path}{'@' if commit else ''}{commit}:{self.split}"

    def _commit(self) -> str:
        """Return the commit of the Hub's dataset to read, "" where the path is a directory.

        Raises ConfigError where path and revision do not go together, and InputError where the
        Hub does not tell what a tag or a branch stands for.
        """
        if Path(self.path).is_dir():
            if self.revision is not None:
                raise ConfigError(
                    f"source `hf`: {self.path!r} is a directory, which has no revision; leave out "
                    "`revision`, or rename the directory to read the Hub's dataset of that name"
                )
            return ""
        self._named()
        if self.revision is None:
            raise ConfigError(
                f"source `hf`: {self.path!r} is no directory, and a dataset from the hub needs "
                "`revision` (a commit), or a rerun could read other data"
            )
        if COMMIT.fullmatch(self.revision):
            return self.revision
        return self._resolved(self.revision)

    def _named(self) -> None:
        """Raise ConfigError where the path can be no name on the Hub."""
        from datasets import packaged_modules

        formats = getattr(packaged_modules, "_PACKAGED_DATASETS_MODULES", ())
        file = Path(self.path).is_file()
        if file or self.path in formats:
            raise ConfigError(
                f"source `hf`: {self.path!r} is {'a file' if file else 'a format'}, not a dataset; "
                "files are read by the sources jsonl, parquet and arrow"
            )
        if not _REPOSITORY.fullmatch(self.path):
            raise ConfigError(
                f"source `hf`: {self.path!r} is no directory here, nor a name on the Hub "
                "(owner/name); check `path`"
            )

    def _resolved(self, revision: str) -> str:
        """Return the commit that a tag or a branch stands for now."""
        from huggingface_hub import HfApi

        try:
            found = HfApi(library_name="curate").dataset_info(self.path, revision=revision)
        except Exception as error:
            why = hub_trouble(error)
            if why is None:
                raise
            raise not_given(
                f"{self.path}@{revision}: {why}; a `revision` that is a commit (40 hexadecimal "
                "digits) is not asked about", error, InputError
            ) from None  # fmt: skip
        return str(found.sha)

    def _load(self, commit: str) -> Any:
        import datasets

        if any((Path(self.path) / name).is_file() for name in _SAVED):
            return self._from_disk(datasets)
        try:
            with bars_for_a_terminal():
                if not commit:
                    return datasets.load_dataset(self.path, self.name, split=self.split)
                return at_commit(self.path, self.name, self.split, commit)
        except CurateError:
            raise
        except Exception as error:
            known = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
            said = " ".join(str(error).split()) if isinstance(error, known) else None
            why = hub_trouble(error) or said
            if why is None:
                raise
            message = f"{self._unit(commit)}: cannot be loaded: {why}"
            raise not_given(message, error, InputError) from None

    def _from_disk(self, datasets: Any) -> Any:
        if self.name is not None:
            raise ConfigError(
                f"source `hf`: {self.path!r} is what `save_to_disk` wrote, which has no "
                "configurations; leave out `name`"
            )
        try:
            loaded = datasets.load_from_disk(self.path)
        except IndexError:  # how `datasets` fails on a set without rows
            raise InputError(f"{self.path}: the dataset has no rows; check `path`") from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path}: cannot be loaded: {error}; it must be a directory that "
                "`save_to_disk` wrote"
            ) from None
        return self._split_of(loaded) if isinstance(loaded, datasets.DatasetDict) else loaded

    def _split_of(self, loaded: Any) -> Any:
        """Return the split, or several one after another. Raises InputError where one is none."""
        from datasets import concatenate_datasets

        names = [name.strip() for name in self.split.split("+")]
        for name in names:
            if name not in loaded:
                raise InputError(f"{self.path}: no split {name!r}{did_you_mean(name, loaded)}")
        if len(names) == 1:
            return loaded[names[0]]
        try:
            return concatenate_datasets([loaded[name] for name in names])
        except ValueError as error:
            why = " ".join(str(error).split())
            raise InputError(
                f"{self.path}: the splits {self.split!r} do not go together: {why}; "
                "read one of them"
            ) from None
