"""Sources that are files: lines of JSON, Parquet, Arrow IPC."""

from __future__ import annotations

import errno
import glob
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
from blake3 import blake3
from pydantic import Field, field_validator

from curate.component import Runtime
from curate.errors import CurateError, InputError, StoreError
from curate.sources.contract import BATCH_ROWS, Source, Unit
from curate.sources.json_lines import parse_line
from curate.sources.values import Raw

Paths = tuple[str, ...]
_LINES = 1024  # lines held at once
_TABLES = frozenset({".csv", ".tsv", ".xls", ".xlsx"})
_BLOCK = 8 << 20  # bytes hashed at once: enough for all cores


class Files(Source):
    """Files by name or pattern. Content, not path, decides what a stored result depends on."""

    path: Runtime[str | Paths] = Field(
        description="a file, a pattern such as data/*.jsonl, or a list of these, relative to the "
        "directory in which the command runs (not to the pipeline's file); files are read in the "
        "order of their names, however they are listed"
    )

    @field_validator("path", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [os.fspath(one) if isinstance(one, os.PathLike) else one for one in value]
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("path")
    @classmethod
    def _not_empty(cls, value: str | Paths) -> str | Paths:
        if not value or (not isinstance(value, str) and "" in value):
            raise ValueError("name at least one file or pattern")
        return value

    def parts(self) -> list[Unit]:
        """Return one unit per file that matches, sorted by path."""
        names = find(self.path)
        for name in names:
            refuse_table(name)
        return [Unit(name, file_digest(name)) for name in names]


class Jsonl(Files, name="jsonl"):
    """Lines of JSON (.jsonl, .json), plain or compressed (.gz, .zst)."""

    def open(self, name: str) -> Iterator[list[Raw]]:
        """Yield the file's rows; blank lines are passed over but counted."""
        held: list[Raw] = []
        try:
            with _lines(name) as lines:
                for number, line in enumerate(lines, 1):
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    if line.isspace() or not line:
                        continue
                    where = f"{name}, row {number}"
                    if number == 1 and line.lstrip().startswith(b"["):
                        raise InputError(_array(name))
                    held.append(Raw(parse_line(line, where), where))
                    if len(held) == _LINES:
                        yield held
                        held = []
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"{name}: cannot be read: {error}; check or re-copy the file"
            ) from None
        except OSError as error:
            raise unreadable(name, error) from None
        if held:
            yield held


class Parquet(Files, name="parquet"):
    """Parquet files, read a few thousand rows at a time."""

    def open(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield the file's batches."""
        import pyarrow.parquet as pq  # brings file systems and TLS, which other sources do without

        try:
            with pq.ParquetFile(name) as file:
                yield from file.iter_batches(batch_size=BATCH_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a readable Parquet file: {error}") from None


class Arrow(Files, name="arrow"):
    """Arrow IPC files, in the file or the stream format."""

    def open(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield the file's batches, large ones in slices."""
        try:
            with pa.OSFile(name) as file:
                for batch in _ipc_batches(file):
                    for start in range(0, len(batch), BATCH_ROWS):
                        yield batch.slice(start, BATCH_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a readable Arrow IPC file: {error}") from None


def refuse_table(name: str) -> None:
    """Raise InputError for a file of a spreadsheet's kind, which has no lists and no types."""
    if Path(name).suffix.lower() in _TABLES:
        raise InputError(
            f"{name}: a table as text is not read; turn it into Parquet, as with "
            f"polars.read_csv({name!r}).write_parquet('rows.parquet')"
        )


def find(path: str | Sequence[str]) -> list[str]:
    """Return the files that a pattern or a list of them matches, sorted, each once.

    "~" is the home folder. Raises InputError where a pattern matches no file, or a link whose file
    is gone: its rows would leave the dataset without a word.
    """
    found: set[str] = set()
    for given in (path,) if isinstance(path, str) else path:
        pattern = given if Path(given).is_file() else os.path.expanduser(given)  # noqa: PTH111
        literal = Path(pattern).is_file()  # a name may hold [ or *
        names = [pattern] if literal else glob.glob(pattern, recursive=True)  # noqa: PTH207
        files = [name for name in names if Path(name).is_file()]
        for lost in (name for name in names if Path(name).is_symlink() and not Path(name).exists()):
            raise InputError(
                f"{lost} is a link to {Path(lost).readlink()}, where nothing is; bring the file "
                "back, or remove the link"
            )
        if not files:
            if Path(pattern).is_dir():
                inside = pattern.rstrip("/")
                raise InputError(
                    f"{pattern} is a folder; name its files, as in {inside}/*.jsonl or "
                    f"{inside}/**/*.parquet"
                )
            raise InputError(f"no file matches {pattern!r} in {Path.cwd()}; check `path`")
        found.update(files)
    return sorted(found)


def file_digest(name: str) -> str:
    """Return the BLAKE3 of a file's bytes, in hexadecimal.

    All cores share the work: hashing is what a second run over a large input waits for.
    """
    hashed = blake3(max_threads=blake3.AUTO)
    try:
        with Path(name).open("rb", buffering=0) as file:
            block = memoryview(bytearray(min(_BLOCK, os.fstat(file.fileno()).st_size + 1)))
            while size := file.readinto(block):
                hashed.update(block[:size])
    except OSError as error:
        raise unreadable(name, error) from None
    return hashed.hexdigest()


def unreadable(name: str, error: OSError) -> CurateError:
    """Return the error for a file that cannot be opened: its own fault, or the machine's."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StoreError(
            f"{name}: cannot be read: {error.strerror}; allow more (ulimit -n), then run the same "
            "command again"
        )
    return InputError(f"{name}: cannot be read: {error.strerror or error}; check the file")


def _lines(name: str) -> IO[bytes]:
    if name.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(name, "rb"))
    if name.endswith(".zst"):
        return cast("IO[bytes]", io.BufferedReader(pa.input_stream(name, compression="zstd")))
    return Path(name).open("rb")


def _array(name: str) -> str:
    return (
        f"{name} is one JSON array; write one object a line, as with "
        f"polars.read_json({name!r}).write_ndjson('rows.jsonl')"
    )


def _ipc_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from pa.ipc.open_stream(file)
