"""Choose rows from best to worst: DEITA's threshold rule, and clusters taken in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, places_of
from curate.methods.coverage import Quota
from curate.methods.vectors import DIGITS, load_faiss

Matrix = npt.NDArray[Any]

BLOCK = 1024  # rows looked up among the taken ones at a time
HELD = 8192  # taken rows that one matrix product looks at


def deita(
    order: npt.ArrayLike,
    vectors: Matrix,
    threshold: float = 0.9,
    budget: int | None = None,
    quota: Quota | None = None,
) -> Ints:
    """Return the rows taken, in `order`: each has cosine <= `threshold` to all taken before.

    DEITA's repr filter (Liu et al. 2024). `order` lists rows from best to worst by complexity
    times quality, or by margin; `vectors` is (n, d), of any length, and zero has cosine 0 to
    all; it stops at `budget` rows. A block of rows is looked up at once, in float32; cosines
    too near the threshold for that are measured in float64.
    """
    rows = np.asarray(order, dtype=np.int64)
    budget = len(rows) if budget is None else budget
    quota = quota or Quota.none(len(vectors))
    taken: list[int] = []
    held: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        wide = _unit64(vectors[block])
        blocked = _near_any(wide, held, vectors, np.array(taken, dtype=np.int64), threshold)
        block, wide = block[~blocked], wide[~blocked]
        near = np.round(wide @ wide.T, DIGITS) > threshold
        blocked, new = np.zeros(len(block), dtype=bool), []
        for at, row in enumerate(block.tolist()):
            if len(taken) >= budget:
                return np.array(taken, dtype=np.int64)
            if not blocked[at] and quota.room[quota.group[row]] > 0:
                taken.append(row)
                new.append(at)
                quota.take(row)
                blocked |= near[at]
        _hold(held, wide[new].astype(np.float32))
    return np.array(taken, dtype=np.int64)


def _unit64(vectors: Matrix) -> Floats:
    wide = vectors.astype(np.float64)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(norm > 0, norm, 1.0), dtype=np.float64)


def _hold(held: list[npt.NDArray[np.float32]], new: npt.NDArray[np.float32]) -> None:
    """Append to the last part of `held`, or begin another where that is full."""
    if held and len(held[-1]) + len(new) <= HELD:
        held[-1] = np.concatenate([held[-1], new])
    else:
        held.append(new)


def _near_any(
    wide: Floats, held: list[npt.NDArray[np.float32]], vectors: Matrix, taken: Ints, limit: float
) -> Bools:
    """Return which rows of `wide` (b, d) have a cosine above `limit` to a taken row."""
    closest = np.full(len(wide), -np.inf)
    narrow = wide.astype(np.float32)
    for part in held:
        np.maximum(closest, (narrow @ part.T).max(axis=1, initial=-np.inf), out=closest)
    error = (wide.shape[1] + 8) * 2.0**-23
    unsure = np.abs(closest - limit) <= error
    for start in range(0, len(taken) if unsure.any() else 0, HELD):
        other = _unit64(vectors[taken[start : start + HELD]])
        found = np.round(wide[unsure] @ other.T, DIGITS).max(axis=1)
        closest[unsure] = found if not start else np.maximum(closest[unsure], found)
    return np.asarray(closest > limit)


def clusters(vectors: Matrix, count: int, seed: int = 0, rounds: int = 25) -> tuple[Ints, Floats]:
    """Return each row's k-means cluster (n), numbered by first row, and squared distance to it.

    faiss's k-means over at most 256 rows a cluster, drawn by `seed`. Raises MissingExtra.
    """
    faiss = load_faiss()
    n, d = vectors.shape
    count = max(1, min(count, n))
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    drawn = np.random.default_rng(seed).choice(n, min(n, 256 * count), replace=False)
    means = faiss.Kmeans(d, count, niter=rounds, seed=seed & 0x7FFFFFFF, min_points_per_centroid=1)
    means.train(np.ascontiguousarray(vectors[np.sort(drawn)], dtype=np.float32))
    own, away = np.empty(n, dtype=np.int64), np.empty(n)
    for start in range(0, n, HELD):
        block = np.ascontiguousarray(vectors[start : start + HELD], dtype=np.float32)
        found = means.index.search(block, 1)
        away[start : start + HELD], own[start : start + HELD] = found[0][:, 0], found[1][:, 0]
    first = np.unique(own, return_index=True)[1]
    number = np.empty(count, dtype=np.int64)
    number[own[np.sort(first)]] = np.arange(len(first))
    return number[own], away


def gather_small(vectors: Matrix, own: Ints, least: int) -> Ints:
    """Return the clusters (n) after those of fewer than `least` rows went to larger ones.

    `own` (n) numbers the clusters of `vectors` (n, d). Each row of a small cluster goes to the
    nearest mean of a large one; where none is large enough, all rows become one cluster. The
    clusters are numbered anew, by their first rows.
    """
    sizes = np.bincount(own)
    large = np.flatnonzero(sizes >= least)
    if not len(large):
        return np.zeros(len(own), dtype=np.int64)
    moved, small = own.copy(), np.flatnonzero(sizes[own] < least)
    means = np.stack([vectors[own == k].mean(axis=0, dtype=np.float64) for k in large])
    norms = np.einsum("ij,ij->i", means, means)
    for start in range(0, len(small), HELD):
        rows = small[start : start + HELD]
        away = np.round(norms - 2.0 * (vectors[rows].astype(np.float64) @ means.T), DIGITS)
        moved[rows] = large[away.argmin(axis=1)]
    first, number = np.unique(moved, return_index=True, return_inverse=True)[1:]
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return np.asarray(place[number], dtype=np.int64)


def in_turn(group: Ints, better: Floats) -> Ints:
    """Return all rows (n): every group's best by `better` (n), then every second best, and so on.

    The first `keep` of them are as many of each group as can be. Within a turn, better rows go
    first; of equal ones the first.
    """
    order = np.lexsort((-better, group))
    counts = np.bincount(group)
    turn = np.empty(len(group), dtype=np.int64)
    turn[order] = places_of(counts)
    return np.asarray(np.lexsort((-better, turn)), dtype=np.int64)
