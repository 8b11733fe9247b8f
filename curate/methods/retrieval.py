"""What is already decided, found again: the labelled rows most like each row."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats, Ints

Singles: TypeAlias = npt.NDArray[np.float32]

BLOCK, ITEMS = 512, 1 << 13  # rows compared with so many items at a time
NONE = np.iinfo(np.int64).min
DIGITS = 6  # cosines are compared to so many decimals: ties do not depend on how rows are cut


def neighbour_count(p: npt.ArrayLike, most: int = 8) -> Ints:
    """Return how many neighbours to show for a label that is right with probability `p`.

    `most` where p is at most one half or not known, else ceil(most (1 - p)), at least 1: the
    surer a model is of a label, the fewer (Skywork-Reward-V2, Liu et al. 2025, with 8).
    """
    sure = np.asarray(p, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        fewer = np.ceil(most * (1.0 - sure) - 1e-9)
        return np.where(sure > 0.5, np.maximum(fewer, 1), most).astype(np.int64)


def most_alike(
    rows: Singles, items: Singles, k: int, own: npt.ArrayLike, theirs: npt.ArrayLike
) -> Ints:
    """Return (n, k) the items most like each row, nearest first, -1 where there are fewer.

    `rows` (n, d) and `items` (m, d) are unit vectors, or zeros, which are like nothing. A row and
    an item that share their number, `own` (n,) and `theirs` (m,), such as the prompt's, never
    meet. Likeness is the cosine, equal ones by the item's place. Takes n m d multiplications;
    items may lie in a file, and some 100 MB are held at a time.
    """
    found = np.full((len(rows), k), -1, dtype=np.int64)
    own, theirs = np.asarray(own), np.asarray(theirs)
    size, width = len(items), min(k, len(items))
    for start in range(0, len(rows) if width else 0, BLOCK):
        at = slice(start, min(start + BLOCK, len(rows)))
        some = rows[at].astype(np.float64)
        best = np.zeros((len(some), 0), dtype=np.int64)
        for first in range(0, size, ITEMS):
            others = slice(first, min(first + ITEMS, size))
            key = _keys(some, items[others].astype(np.float64), first, size)
            key[own[at, None] == theirs[others]] = NONE
            best = np.concatenate([best, key], axis=1)
            if best.shape[1] > width:
                best = np.partition(best, best.shape[1] - width, axis=1)[:, -width:]
        best = np.sort(best, axis=1)[:, ::-1]
        found[at, :width] = np.where(best == NONE, -1, size - 1 - best % size)
    return found


def _keys(rows: Floats, items: Floats, first: int, size: int) -> Ints:
    """Return numbers (n, m) that rank pairs: by the cosine, then by the item's place.

    The items are the `first` and following ones of `size`; `NONE` where a vector is zero.
    """
    cosine = np.rint(rows @ items.T * 10.0**DIGITS).astype(np.int64)
    key = cosine * size + (size - 1 - np.arange(first, first + len(items)))
    key[~rows.any(axis=1)] = NONE
    key[:, ~items.any(axis=1)] = NONE
    return key
