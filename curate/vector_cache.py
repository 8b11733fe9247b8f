"""Vectors by text: what an encoder has once made of a text is not made again.

A part of `embed` holds the vectors of its rows, so that one row more or less makes another part.
This cache lies beside the parts and is keyed by the text and by all that its vector depends on
(`SentenceEncoder.fingerprint`), so that only new texts are encoded, by whichever stage or run.

Below the cache's folder each fingerprint has one, of immutable files: the sorted 128-bit hashes of
some texts, a checksum of each row, and the vectors in float32 as the encoder gave them. A file gets
its name when it is whole, so many processes may write; a row whose checksum does not match, and a
file that is gone, are as if they had never been. A part's record names the files that it used
(`USED`), and a file in the run's folder those that an audit or a report of it used (`CLAIM`), so
that `curate gc` keeps them for as long as it keeps the part or the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from curate.disk import replace_synced, writing
from curate.encoders import Encoder, SentenceEncoder, Vectors
from curate.meter import Told

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

HEAD = 3  # numbers before the rest: texts, dimensions, a checksum of these and of the keys
SUFFIX = ".vectors"
USED = "vectors"  # what a record's `info` calls the files that its part used
CLAIM = ".vectors.json"  # ends a file of a run's folder: what the last look at the run used


class CachedEncoder:
    """An encoder that looks a text up before it encodes it; the vectors are the same.

    `folder` need not exist. An encoder whose vectors depend on their batch is used as it is.
    `used` is told the files that texts were found in or put into, by their place below `folder`.
    """

    def __init__(self, encoder: Encoder, folder: Path, used: set[str] | None = None) -> None:
        self._encoder = encoder
        self._used = set() if used is None else used
        name = encoder.fingerprint if isinstance(encoder, SentenceEncoder) else None
        self._shelf = None if name is None else _shelf(folder.absolute() / name)

    def encode(
        self, texts: Sequence[str], batch_size: int = 64, told: Told = lambda texts: None
    ) -> Vectors:
        """Return unit vectors (n, d), in the order of `texts`. Raises StoreError."""
        if self._shelf is None or not texts:
            return self._encoder.encode(texts, batch_size, told)
        distinct = sorted(set(texts))
        keys = keys_of(distinct)
        known, vectors = self._shelf.find(keys, self._used)
        told(int(known.sum()))
        new = np.flatnonzero(~known)
        if len(new):
            made = self._encoder.encode([distinct[row] for row in new.tolist()], batch_size, told)
            if vectors is None:
                vectors = np.empty((len(distinct), made.shape[1]), dtype=np.float32)
            vectors[new] = made
            sound = np.isfinite(made).all(axis=1)
            self._shelf.add(keys[new[sound]], made[sound], self._used)
        assert vectors is not None  # noqa: S101 - there is a text, and it is known or new
        at = {text: row for row, text in enumerate(distinct)}
        return np.take(vectors, [at[text] for text in texts], axis=0)


def keys_of(texts: Sequence[str]) -> Hashes:
    """Return a 128-bit hash of each text as two numbers (n, 2)."""
    hashed = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(hashed), dtype="<u8").reshape(-1, 2).astype(np.uint64)


@dataclass(frozen=True)
class _Pack:
    """One file: its sorted keys (n, 2), the rows' checksums (n) and the vectors' dimensions."""

    path: Path
    keys: Hashes
    checks: Hashes
    dimensions: int

    def find(self, keys: Hashes) -> tuple[Rows, Rows]:
        """Return which of `keys` (m, 2) are here, and each one's row."""
        row = np.searchsorted(self.keys[:, 0], keys[:, 0]).clip(max=len(self.keys) - 1)
        asked = np.flatnonzero((self.keys[row] == keys).all(axis=1))
        return asked, row[asked]

    def read(self, rows: Rows) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """Return the vectors of `rows` (m, d) and which are sound. Raises OSError, ValueError."""
        shape = (len(self.keys), self.dimensions)
        begin = 8 * (HEAD + 3 * len(self.keys))
        stored = np.memmap(self.path, dtype="<f4", mode="r", offset=begin, shape=shape)
        vectors = np.asarray(stored[rows], dtype=np.float32)
        return vectors, checksums(self.keys[rows], vectors) == self.checks[rows]


class _Shelf:
    """The files of one encoder. Safe for threads, and beside other processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._packs: dict[str, _Pack | None] = {}  # None: of no use
        self._lock = Lock()

    def find(self, keys: Hashes, used: set[str]) -> tuple[npt.NDArray[np.bool_], Vectors | None]:
        """Return which keys (n, 2) are known, and vectors (n, d) that hold theirs, or None.

        `used` is told the files that hold them.
        """
        known = np.zeros(len(keys), dtype=bool)
        vectors: Vectors | None = None
        for pack in self._fresh():
            left = np.flatnonzero(~known)
            asked, rows = pack.find(keys[left])
            if not len(rows):
                continue
            try:
                found, sound = pack.read(rows)
                os.utime(pack.path)  # in use: no sweep takes it
            except (OSError, ValueError):  # swept, or cut short
                continue
            if vectors is None:
                vectors = np.empty((len(keys), pack.dimensions), dtype=np.float32)
            at = left[asked[sound]]
            vectors[at], known[at] = found[sound], True
            used.add(self._place(pack.path))
        return known, vectors

    def add(self, keys: Hashes, vectors: Vectors, used: set[str]) -> None:
        """Keep the vectors (n, d) of these keys (n, 2), and tell `used` the file.

        Raises StoreError if the disk refuses.
        """
        if not len(keys):
            return
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        keys, vectors = np.ascontiguousarray(keys[order]), np.ascontiguousarray(vectors[order])
        size = np.array(vectors.shape, dtype="<u8").tobytes()
        named = keys.astype("<u8").tobytes()
        check = np.array([xxhash.xxh3_64_intdigest(size + named)], dtype="<u8").tobytes()
        rows = checksums(keys, vectors).astype("<u8").tobytes()
        path = self._folder / f"{hashlib.sha256(named).hexdigest()[:32]}{SUFFIX}"
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        replace_synced(path, size, check, named, rows, vectors.astype("<f4").tobytes())
        used.add(self._place(path))

    def _place(self, path: Path) -> str:
        return f"{self._folder.name}/{path.name}"

    def _fresh(self) -> Iterator[_Pack]:
        """Yield the files that are there now."""
        with self._lock:
            try:
                with os.scandir(self._folder) as entries:
                    names = sorted(e.name for e in entries if e.name.endswith(SUFFIX))
            except OSError:  # there is none yet
                names = []
            packs = {n: self._packs[n] if n in self._packs else self._open(n) for n in names}
            self._packs = packs
        yield from (pack for pack in packs.values() if pack is not None)

    def _open(self, name: str) -> _Pack | None:
        """Return the file's pack, or None where it is not whole; such a one is removed."""
        path = self._folder / name
        try:
            with path.open("rb") as file:
                head = file.read(8 * HEAD)
                size, dimensions, check = np.frombuffer(head, dtype="<u8").tolist()
                if path.stat().st_size != 8 * HEAD + size * (24 + 4 * dimensions):
                    raise ValueError("another size")
                named, checks = file.read(16 * size), file.read(8 * size)
            if not size or xxhash.xxh3_64_intdigest(head[:16] + named) != check:
                raise ValueError("other keys")
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        keys = np.frombuffer(named, dtype="<u8").astype(np.uint64).reshape(-1, 2)
        return _Pack(path, keys, np.frombuffer(checks, dtype="<u8").astype(np.uint64), dimensions)


def checksums(keys: Hashes, vectors: Vectors) -> Hashes:
    """Return a checksum of each key (n, 2) with its vector (n, d)."""
    rows: npt.NDArray[Any] = np.ascontiguousarray(vectors, dtype="<f4")
    hashed = xxhash.xxh3_64_intdigest
    return np.array(
        [hashed(row.tobytes(), low) for row, low in zip(rows, keys[:, 1].tolist(), strict=True)],
        dtype=np.uint64,
    )


@lru_cache(maxsize=64)
def _shelf(folder: Path) -> _Shelf:
    return _Shelf(folder)
