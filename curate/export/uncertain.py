"""The pairs that most need a person: those whose label is least certain."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Column, flat, hashes, lengths, mix, owners
from curate.export.pairs import take

Entry = tuple[float, int, dict[str, Any]]


class Least:
    """Keeps the `size` entries with the smallest numbers, ties by their keys."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: list[Entry] = []

    def wants(self, number: float, key: int) -> bool:
        """Whether an entry would be kept."""
        return len(self._held) < self.size or (-number, -key) > self._held[0][:2]

    def add(self, number: float, key: int, entry: dict[str, Any]) -> None:
        """Keep an entry that is wanted; keys are unique."""
        push = heapq.heappush if len(self._held) < self.size else heapq.heapreplace
        push(self._held, (-number, -key, entry))

    def entries(self) -> list[dict[str, Any]]:
        """Return what is kept, smallest number first."""
        return [entry for _, _, entry in sorted(self._held, key=lambda e: e[:2], reverse=True)]


def live_places(pairs: Column) -> npt.NDArray[np.int64]:
    """Return the flat positions (live,) of the pairs without a drop reason."""
    return np.flatnonzero(flat(pairs, "drop").is_null().to_numpy(zero_copy_only=False))


def doubt(pairs: Column) -> npt.NDArray[np.float64]:
    """Return a number for each flattened pair (pairs,), small where its label is uncertain.

    |p_correct - 1/2| where there is a probability; else 1 + the margin; infinity for neither.
    """
    p = flat(pairs, "p_correct").to_numpy(zero_copy_only=False).astype(float)
    margin = flat(pairs, "margin").to_numpy(zero_copy_only=False).astype(float)
    unknown = 1.0 + np.nan_to_num(np.abs(margin), nan=np.inf)
    return np.where(np.isfinite(p), np.abs(p - 0.5), unknown)


def pair_keys(ids: Column, pairs: Column) -> npt.NDArray[np.uint64]:
    """Return a hash for each flattened pair (pairs,), from its row's id and its two candidates."""
    chosen = flat(pairs, "chosen").to_numpy(zero_copy_only=False).astype(np.uint64)
    rejected = flat(pairs, "rejected").to_numpy(zero_copy_only=False).astype(np.uint64)
    return mix(hashes(ids)[owners(lengths(pairs))], chosen, rejected)


def pair_facts(table: pa.Table, place: int) -> dict[str, Any]:
    """Return one flattened pair with its row's id, conversation and candidates."""
    row = int(owners(lengths(table["pairs"]))[place])
    pair = flat(table["pairs"])[place].as_py()
    only = np.array([row])
    candidates = take(table["candidates"], only)[0].as_py()
    return {
        "id": table["id"][row].as_py(),
        "prompt": take(table["prompt"], only)[0].as_py(),
        "chosen": candidates[pair["chosen"]],
        "rejected": candidates[pair["rejected"]],
        "pair": pair,
    }
