"""Files of an export: cut at a fixed number of records, fsynced, and put in place by renaming."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.disk import sync, writing
from curate.errors import ConfigError

FileFormat = Literal["parquet", "jsonl", "arrow"]
ROWS_PER_FILE = 100_000


class ShardedFiles:
    """Writes `<prefix>-00000-of-0000N.<ext>` files of some `rows` records each.

    A file ends with the first batch that reaches the number. There is always at least one file,
    with the columns and no rows if nothing was written.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        file_format: FileFormat,
        schema: pa.Schema,
        rows: int = ROWS_PER_FILE,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.prefix, self.format, self.schema = folder, prefix, file_format, schema
        self._most = rows
        self._writer: Any = None
        self._rows = 0  # in the open file
        self._parts: list[Path] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one batch."""
        if self._writer is not None and self._rows >= self._most:
            self._finish()
        if self._writer is None:
            self._start()
        self._writer.write_batch(batch)
        self._rows += len(batch)

    def close(self) -> list[Path]:
        """Finish the files, give them their final names and return those in order."""
        if not self._parts:
            self._start()
        if self._writer is not None:
            self._finish()
        names = []
        for number, part in enumerate(self._parts):
            total = len(self._parts)
            final = self.folder / f"{self.prefix}-{number:05d}-of-{total:05d}.{self.format}"
            part.rename(final)
            names.append(final)
        return names

    def abandon(self) -> None:
        """Close what is open after an error; the caller deletes the folder."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _start(self) -> None:
        part = self.folder / f"{self.prefix}-{len(self._parts):05d}.part"
        self._writer, self._rows = _OPEN[self.format](part, self.schema), 0
        self._parts.append(part)

    def _finish(self) -> None:
        self._writer.close()
        self._writer = None
        sync(self._parts[-1])


class JsonLines:
    """Writes record batches as one JSON object a line, UTF-8, keys in column order."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._file: BinaryIO = path.open("wb")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append the batch's records."""
        import orjson

        for record in batch.to_pylist():
            self._file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ArrowStream:
    """Writes the IPC stream that `datasets` maps into memory, and closes its file too."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._stream = pyarrow.ipc.new_stream(self._file, schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append one batch."""
        self._stream.write_batch(batch)

    def close(self) -> None:
        """Write the end mark and close the file."""
        self._stream.close()
        self._file.close()


def open_parquet(path: Path, schema: pa.Schema) -> Any:
    """Open a Parquet writer: checksummed pages, an index for the Hub's viewer, stable chunks."""
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        write_page_index=True,
        write_page_checksum=True,
        use_content_defined_chunking=True,
    )


_OPEN: dict[str, Callable[[Path, pa.Schema], Any]] = {
    "parquet": open_parquet,
    "jsonl": JsonLines,
    "arrow": ArrowStream,
}


def open_file(path: Path, file_format: FileFormat, schema: pa.Schema) -> Any:
    """Open one file of the format for `write_batch` and `close`."""
    return _OPEN[file_format](path, schema)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as it is and fsync it; lone surrogates become `?`."""
    path.write_bytes(text.encode("utf-8", "replace"))
    sync(path)


@contextmanager
def replacing_folder(out: Path, marks: tuple[str, ...]) -> Iterator[Path]:
    """Give a fresh folder beside `out`; on success it takes the place of `out`.

    An existing `out` is only replaced if it is empty or holds one of `marks` (so it is an
    earlier export); anything else raises ConfigError before work starts. After a crash `out`
    is old, new, or (between two renames) set aside, from where `restore` brings it back.
    Raises StoreError where the disk refuses.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100  - resolve() would follow a link at `out`
    restore(out)
    if out.is_symlink() or (out.exists() and not _replaceable(out, marks)):
        raise ConfigError(f"{out} exists and is not an earlier export; choose another folder")
    fresh, old = _beside(out, "writing"), _beside(out, "old")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)  # what a killed export left
        fresh.mkdir()
        try:
            yield fresh
            for folder in sorted(p for p in fresh.rglob("*") if p.is_dir()):
                sync(folder)
            sync(fresh)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
        fresh.rename(out)
        sync(out.parent)
        shutil.rmtree(old, ignore_errors=True)


def not_there(path: Path, force: bool = False) -> None:
    """Raise ConfigError where a file to write is there already, or a folder in its place."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the file to write")
    if not force and (path.exists() or path.is_symlink()):
        raise ConfigError(f"{path} exists; choose another name, or give --force to replace it")


def restore(out: Path) -> None:
    """Bring back the earlier export that a crash between two renames left set aside."""
    old = _beside(out, "old")
    if old.exists() and not out.exists():
        with writing(out):
            old.rename(out)


def _beside(out: Path, end: str) -> Path:
    return out.parent / f".{out.name}.{end}"


def _replaceable(out: Path, marks: tuple[str, ...]) -> bool:
    if not out.is_dir():
        return False
    return not any(out.iterdir()) or any((out / mark).is_file() for mark in marks)
