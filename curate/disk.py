"""Files that are whole and on the disk, or not there: what stores and runs are written with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from curate.arrays import one_chunk
from curate.canonical import canonical
from curate.errors import StoreError


class _Pieces:
    """A file to write to that only notes what it is given, so that no text is copied."""

    closed = False

    def __init__(self) -> None:
        self.written: list[bytes | pa.Buffer] = []

    def write(self, piece: bytes | pa.Buffer) -> None:
        self.written.append(piece)

    def tell(self) -> int:
        return sum(map(len, self.written))

    def flush(self) -> None:
        """There is nothing to flush."""


def serialize(columns: Mapping[str, pa.Array]) -> list[bytes | pa.Buffer]:
    """Return, in pieces, the columns as one Arrow IPC file.

    Its bytes depend on the values alone.
    """
    arrays = [canonical(one_chunk(column)) for column in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    pieces = _Pieces()
    with pa.ipc.new_file(pa.PythonFile(pieces, "w"), batch.schema) as writer:
        writer.write_batch(batch)
    return pieces.written


def sha256_of(pieces: Iterable[bytes | pa.Buffer]) -> str:
    """Return the SHA-256 of pieces one after another, in hexadecimal."""
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.hexdigest()


def write_synced(path: Path, *pieces: bytes | pa.Buffer) -> None:
    """Create `path` (it must not exist) with `pieces`, and wait until the disk has it."""
    with path.open("xb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def replace_synced(path: Path, *pieces: bytes | pa.Buffer) -> None:
    """Put `pieces` at `path` so that a reader sees the old file or the new one.

    Raises StoreError where the disk refuses.
    """
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with writing(path):
        try:
            write_synced(scratch, *pieces)
            scratch.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a StoreError that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write to {path}: {error.strerror or error}; free space or fix permissions, "
            "then run the same command again"
        ) from error
