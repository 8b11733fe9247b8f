"""Large arrays in pieces: cut by weight, worked on by all cores, kept in memory or a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from curate.arrays import Ints
from curate.threads import in_order

Hashes: TypeAlias = npt.NDArray[np.uint64]
Item = TypeVar("Item")
Value = TypeVar("Value")

BATCH_BITS = 12  # items a batch at most: their number and 52 bits of a hash share one sorting key


def slices(ends: Ints, limit: int, most: int = 1 << BATCH_BITS) -> Iterator[slice]:
    """Cut items into slices of at most `most` items and, from two items on, `limit` in weight.

    `ends` (n) are the cumulated weights of the items.
    """
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + limit, side="right"))
        stop = min(max(stop, start + 1), start + most)
        yield slice(start, stop)
        start = stop


def in_threads(work: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Value]:
    """Yield `work(item)` in the order of the items, a few items ahead on every core."""
    cores = os.cpu_count() or 1
    return in_order(work, items, cores, 2 * cores)


class Pile:
    """64-bit numbers that arrive in pieces: in memory, or in a file of the directory `spill`."""

    def __init__(self, spill: Path | None, name: str) -> None:
        self._path = None if spill is None else spill / name
        self._pieces: list[Hashes] = []

    def add(self, piece: Hashes) -> None:
        """Append a piece."""
        if self._path is None:
            self._pieces.append(piece)
        elif len(piece):
            with self._path.open("ab") as file:
                file.write(piece.data)

    def array(self) -> Hashes:
        """Return all pieces in their order; with a file, mapped from it."""
        if self._path is None or not self._path.exists():
            return np.concatenate([np.zeros(0, dtype=np.uint64), *self._pieces])
        return np.memmap(self._path, dtype=np.uint64, mode="r")
