"""Choose rows at a fixed budget: greedy by distance, facility location, DEITA, clusters.

Every method is a free function over vectors (n, d) that returns the rows chosen, in the order of
choice. Of equals the first row is taken, so the caller's order of rows breaks ties. A `Quota`
limits how many rows of each group are taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, places_of
from curate.methods.neighbours import Graph
from curate.methods.tiles import half_square_norms
from curate.methods.vectors import DIGITS

Matrix = npt.NDArray[Any]
Value = Callable[[Ints, Floats], Floats]

POOL = 64, 4096  # fewest and most rows that the greedy search holds apart
CELLS = 1 << 23  # numbers of one matrix product
_ROWS = 1 << 16  # whose edges are sorted together


@dataclass
class Quota:
    """How many rows each group may still give: `group` (n) numbers groups, `room` (g) counts."""

    group: Ints
    room: Ints

    @classmethod
    def none(cls, n: int) -> Quota:
        """Return the quota of one group that holds all `n` rows and takes them all."""
        return cls(np.zeros(n, dtype=np.int64), np.array([n], dtype=np.int64))

    def take(self, row: int) -> bool:
        """Count `row` in; return whether its group is full now."""
        self.room[self.group[row]] -= 1
        return bool(self.room[self.group[row]] <= 0)

    def first(self, order: Ints, keep: int) -> Ints:
        """Return the first `keep` rows of `order` that their groups have room for."""
        number = self.group[order]
        by_group = np.argsort(number, kind="stable")
        counts = np.bincount(number, minlength=len(self.room))
        place = np.empty(len(order), dtype=np.int64)
        place[by_group] = places_of(counts)
        return order[place < self.room[number]][:keep]


def shares(sizes: Ints, keep: int, equal: bool) -> Ints:
    """Split `keep` over groups of `sizes` (g): alike, or in proportion; none gets above its size.

    Alike: what a small group cannot fill goes to the others. In proportion: by largest remainder.
    What cannot be split evenly goes to the groups that come first.
    """
    keep = min(keep, int(sizes.sum()))
    if equal:
        level = 0
        while int(np.minimum(sizes, level + 1).sum()) <= keep and level < int(sizes.max(initial=0)):
            level += 1
        room = np.minimum(sizes, level)
        more = np.flatnonzero(sizes > level)[: keep - int(room.sum())]
    else:
        exact = keep * sizes / max(int(sizes.sum()), 1)
        room = np.floor(exact).astype(np.int64)
        more = np.argsort(room - exact, kind="stable")[: keep - int(room.sum())]
    room[more] += 1
    return np.asarray(room, dtype=np.int64)


def greedy(
    vectors: Matrix, keep: int, start: int, value: Value, quota: Quota | None = None
) -> tuple[Ints, Floats]:
    """Return up to `keep` rows chosen one by one, and each row's squared distance to them.

    From `start` on (-1: choose none), the row of highest `value(rows, square)` is added; `square`
    holds the rows' squared distances to those chosen so far; `value` must not fall as they grow.
    The picks are those of a plain greedy loop in float64, found lazily: distances to the picks are
    brought up to date for all rows at once (one matrix product, in float32, with a bound on its
    rounding), and between two such updates only a pool of the highest values is followed, in
    float64, for as long as no row outside of it can be better.
    """
    state = _Greedy(vectors, value, quota or Quota.none(len(vectors)))
    if keep > 0 and start >= 0:
        state.choose(start)
    size = POOL[0]
    while state.chosen and len(state.chosen) < keep:
        state.update()
        pool, beyond, rival = state.best(size)
        if not len(pool):
            break
        before = len(state.chosen)
        state.follow(pool, beyond, rival, keep)
        picks = len(state.chosen) - before
        if picks == 0 or picks > size // 4:
            size = min(2 * size, POOL[1])
        elif picks < size // 16:
            size = max(size // 2, POOL[0])
    state.update()
    return np.array(state.chosen, dtype=np.int64), state.square


class _Greedy:
    def __init__(self, vectors: Matrix, value: Value, quota: Quota) -> None:
        self.vectors, self.value, self.quota = vectors, value, quota
        self.chosen: list[int] = []
        self.square = np.full(len(vectors), np.inf)  # no row is farther from the picks than this
        self._updated = 0
        self._closed: Bools = quota.room[quota.group] <= 0
        self._norms = 2.0 * half_square_norms(vectors)
        largest = float(self._norms.max(initial=0.0))
        self._error = (2 * vectors.shape[1] + 16) * 2.0**-24 * largest

    def choose(self, row: int) -> None:
        self.chosen.append(row)
        if self.quota.take(row):
            self._closed |= self.quota.group == self.quota.group[row]
        self._closed[row] = True

    def update(self) -> None:
        """Bring all rows' bounds up to date with the picks since the last update."""
        new = np.array(self.chosen[self._updated :], dtype=np.int64)
        self._updated = len(self.chosen)
        if not len(new):
            return
        picks = -2.0 * self.vectors[new].astype(np.float32)
        step = max(1, CELLS // len(new))
        for begin in range(0, len(self.vectors), step):
            at = slice(begin, begin + step)
            away = self.vectors[at].astype(np.float32, copy=False) @ picks.T
            away += self._norms[new]
            found = away.min(axis=1).astype(np.float64) + self._norms[at] + self._error
            self.square[at] = np.minimum(self.square[at], np.maximum(found, 0.0))

    def best(self, size: int) -> tuple[Ints, float, int]:
        """Return the `size` rows of highest bound, the highest bound of the others, and whose."""
        bound = self.value(np.arange(len(self.square)), self.square)
        bound[self._closed] = -np.inf
        if size < len(bound):
            least = np.partition(bound, len(bound) - size)[len(bound) - size]
            above, level = np.flatnonzero(bound > least), np.flatnonzero(bound == least)
            pool = np.sort(np.concatenate([above, level[: size - len(above)]]))
        else:
            pool = np.arange(len(bound))
        pool = pool[~self._closed[pool]]
        bound[pool] = -np.inf
        rival = int(bound.argmax())
        return pool, float(bound[rival]), rival

    def follow(self, pool: Ints, beyond: float, rival: int, keep: int) -> None:
        """Choose from `pool` for as long as no row outside of it can be better."""
        vectors = self.vectors[pool].astype(np.float64)
        norms = np.einsum("ij,ij->i", vectors, vectors)
        square = self._measure(vectors, norms)
        self.square[pool] = square
        while len(self.chosen) < keep:
            value = self.value(pool, square)
            value[self._closed[pool]] = -np.inf
            at = int(value.argmax())
            best, row = float(value[at]), int(pool[at])
            if best == -np.inf or (best, -row) < (beyond, -rival):
                break
            self.choose(row)
            away = norms + norms[at] - 2.0 * (vectors @ vectors[at])
            np.minimum(square, np.round(np.maximum(away, 0.0), DIGITS), out=square)

    def _measure(self, vectors: Floats, norms: Floats) -> Floats:
        """Return the squared distances of some rows to all picks, in float64."""
        square = np.full(len(vectors), np.inf)
        picks = np.array(self.chosen, dtype=np.int64)
        for begin in range(0, len(picks), 1024):
            other = self.vectors[picks[begin : begin + 1024]].astype(np.float64)
            away = vectors @ (-2.0 * other.T)
            away += np.einsum("ij,ij->i", other, other)
            np.minimum(square, away.min(axis=1) + norms, out=square)
        return np.asarray(np.round(np.maximum(square, 0.0), DIGITS), dtype=np.float64)


def farthest_first(
    vectors: Matrix, keep: int, start: int, quota: Quota | None = None
) -> tuple[Ints, float]:
    """Return `keep` rows, each the farthest from those before, and the radius left over.

    Greedy k-center (Gonzalez 1985): the radius, the largest distance of a row to the nearest
    chosen one, is at most twice the best possible.
    """
    chosen, square = greedy(vectors, keep, start, _distance, quota)
    left = np.ones(len(vectors), dtype=bool)
    left[chosen] = False
    if not left.any() or not len(chosen):
        return chosen, 0.0
    far = np.flatnonzero(left)[[int(square[left].argmax())]].astype(np.int64)
    apart = vectors[chosen].astype(np.float64) - vectors[far].astype(np.float64)
    return chosen, float(np.sqrt((apart**2).sum(axis=1).min()))


def _distance(rows: Ints, square: Floats) -> Floats:
    return np.array(square)


def mmr(
    vectors: Matrix, relevance: Floats, keep: int, balance: float = 0.5, quota: Quota | None = None
) -> Ints:
    """Return `keep` rows by maximal marginal relevance (Carbonell and Goldstein 1998).

    Each next row has the highest balance * relevance - (1 - balance) * its highest cosine to the
    rows chosen so far; the first has the highest `relevance` (n). `vectors` have unit length.
    """

    def value(rows: Ints, square: Floats) -> Floats:
        closest = 1.0 - np.minimum(square, 4.0) / 2.0
        mixed: Floats = balance * relevance[rows] - (1.0 - balance) * closest
        return mixed

    quota = quota or Quota.none(len(vectors))
    return greedy(vectors, keep, first_of(relevance, quota), value, quota)[0]


def first_of(better: Floats, quota: Quota) -> int:
    """Return the row of highest `better` (n) whose group has room; -1 where none has."""
    best = quota.first(np.argsort(-better, kind="stable"), 1)
    return int(best[0]) if len(best) else -1


def facility_location(
    graph: Graph,
    similarity: Floats,
    keep: int,
    bonus: Floats | None = None,
    quota: Quota | None = None,
) -> tuple[Ints, float]:
    """Return `keep` rows that cover the others best, and the coverage.

    Coverage is the sum over all rows of the highest similarity to a chosen row. `similarity`
    (n, k) holds that of each edge of `graph`, in [0, 1]; an edge counts both ways, a row has 1
    with itself and 0 with rows it shares no edge with. `bonus` (n) is added to a row's gain.
    Lazy greedy (Minoux 1978), within 1 - 1/e of the best possible.
    """
    n = len(similarity)
    quota = quota or Quota.none(n)
    starts, covered, weight = _both_ways(graph, similarity)
    covers = np.zeros(n)
    extra = np.zeros(n) if bonus is None else bonus
    gains = np.add.reduceat(weight, starts[:-1]) if n else np.zeros(0)
    heap = [(-round(gain, DIGITS), row) for row, gain in enumerate((gains + extra).tolist())]
    heapq.heapify(heap)
    fresh, chosen = np.zeros(n, dtype=np.int64), list[int]()
    while heap and len(chosen) < keep:
        _, row = heap[0]
        if quota.room[quota.group[row]] <= 0:
            heapq.heappop(heap)
            continue
        at = slice(starts[row], starts[row + 1])
        rows = covered[at]
        if fresh[row] == len(chosen):
            heapq.heappop(heap)
            chosen.append(row)
            quota.take(row)
            covers[rows] = np.maximum(covers[rows], weight[at])
            continue
        gain = float(np.maximum(weight[at] - covers[rows], 0.0).sum()) + float(extra[row])
        fresh[row] = len(chosen)
        heapq.heapreplace(heap, (-round(gain, DIGITS), row))
    return np.array(chosen, dtype=np.int64), float(covers.sum())


def _both_ways(graph: Graph, similarity: Floats) -> tuple[Ints, npt.NDArray[np.int32], Floats]:
    """Return the edges by the row they start at, each in both directions, loops included.

    Row i has those from starts[i] to starts[i + 1] of (starts, covered, weight). Made for some
    rows at a time: sorted all at once, the edges of a million rows take a gigabyte.
    """
    n, k = similarity.shape
    far, strength = graph.rows.ravel(), similarity.ravel()
    back = np.argsort(far, kind="stable")  # edges by the row they end at
    ends = np.searchsorted(far, np.arange(n + 1), sorter=back)
    counts = [np.zeros(1, dtype=np.int64)]
    made = [(np.zeros(0, dtype=np.int32), np.zeros(0))]
    for first in range(0, n, _ROWS):
        own = np.arange(first, min(first + _ROWS, n))
        mine = np.arange(first * k, (own[-1] + 1) * k)
        mine, theirs = mine[far[mine] >= 0], back[ends[first] : ends[own[-1] + 1]]
        keys = mine // k * n + far[mine], far[theirs] * n + theirs // k, own * (n + 1)
        weight = np.concatenate([strength[mine], strength[theirs], np.ones(len(own))])
        key, once = np.unique(np.concatenate(keys), return_index=True)
        source, covered = np.divmod(key, n)
        counts.append(np.bincount(source - first, minlength=len(own)))
        made.append((covered.astype(np.int32), weight[once]))
    starts = np.cumsum(np.concatenate(counts))
    return starts, np.concatenate([c for c, _ in made]), np.concatenate([w for _, w in made])
