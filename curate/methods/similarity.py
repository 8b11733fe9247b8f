"""Find near-duplicates among vectors: cosine search, a greedy pass over it, and components.

The search answers, block by block: which pairs (later, earlier) reach the threshold, with the
earlier one still alive. A greedy pass that drops rows therefore looks each row up among the kept
ones alone, and a cluster of n near-copies costs n look-ups, not n². What float32 products find is
measured in float64, so which pairs are similar does not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, owners
from curate.methods.set_join import SimilarPairs, link
from curate.methods.vectors import COSINE_SLACK, cosines, load_faiss, rounding, unit

BLOCK = 1024  # rows looked up at a time
UNIT_SLACK = 5e-7  # of a squared length: within it a vector counts as one of unit length


class CosineSearch:
    """Pairs of vectors whose cosine reaches a threshold; a zero vector matches nothing.

    `vectors` is (n, d) and needs no unit length. Raises MissingExtra without faiss.
    """

    def __init__(self, vectors: npt.NDArray[Any], threshold: float) -> None:
        self._unit, self._nonzero = _unit_and_nonzero(vectors)
        self._least = threshold - COSINE_SLACK
        self._radius = self._least - rounding(self._unit.shape[1])
        self._index = load_faiss().IndexFlatIP(self._unit.shape[1])
        self._indexed = np.zeros(0, dtype=np.int64)  # the item behind each indexed vector
        self._done = 0

    @property
    def size(self) -> int:
        """Number of vectors."""
        return len(self._unit)

    def pairs(
        self, start: int, stop: int, alive: Bools, group: Ints | None
    ) -> Iterator[SimilarPairs]:
        """Yield pairs with start <= later < stop, earlier < later and alive[earlier].

        Pairs whose two items have one `group` may be left out. Calls come in order of `start`,
        and `alive` and `group` may be changed in place between two pieces.
        """
        nonzero = self._nonzero
        new = self._done + np.flatnonzero((alive & nonzero)[self._done : start])
        self._add(new)
        self._indexed = np.concatenate([self._indexed, new])
        self._done = start
        block = np.ascontiguousarray(self._unit[start:stop])
        if len(self._indexed):
            limits, found = self._look_up(start, block)
            row = start + owners(np.diff(limits.astype(np.int64)))
            keep = nonzero[row]
            yield self._measured(row[keep], self._indexed[found[keep]])
        inside = np.tril(block @ block.T >= self._radius, -1)
        inside &= nonzero[start:stop, None] & nonzero[None, start:stop]
        later, earlier = np.nonzero(inside)
        yield self._measured(later + start, earlier + start)

    def _add(self, new: Ints) -> None:
        self._index.add(np.ascontiguousarray(self._unit[new]))

    def _look_up(
        self, start: int, block: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return which indexed vectors may be similar to those of the block, as faiss does."""
        limits, _, found = self._index.range_search(block, float(self._radius))
        return limits, found

    def _measured(self, later: Ints, earlier: Ints) -> SimilarPairs:
        cosine = cosines(self._unit, later, earlier)
        good = cosine >= self._least
        return SimilarPairs(later[good], earlier[good], cosine[good])


def _unit_and_nonzero(vectors: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], Bools]:
    """Return the vectors (n, d) at unit length, copied if they are not, and which are not zero."""
    full = np.asarray(vectors, dtype=np.float32)
    square = np.einsum("ij,ij->i", full, full)
    there: Bools = square > 0
    if (np.abs(square - 1) < UNIT_SLACK)[there].all():
        return full, there
    full = unit(full)
    return full, np.einsum("ij,ij->i", full, full) > 0


def keep_greedily(search: CosineSearch) -> tuple[Ints, Floats]:
    """Return the twin (n; -1 where the item is kept) and the similarity to it, best item first.

    Items are taken in order; one is dropped only if it is similar to an item already kept, and
    its twin is the most similar of these (the first, if equal). There are no transitive chains:
    with a ~ b ~ c and a, c unalike, both a and c stay.
    """
    n = search.size
    alive = np.ones(n, dtype=bool)
    twin, similarity = np.full(n, -1, dtype=np.int64), np.zeros(n)
    for start in range(0, n, BLOCK):
        found = list(search.pairs(start, min(start + BLOCK, n), alive, None))
        later, earlier, value = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.lexsort((earlier, -value, later))
        later, earlier, value = later[order], earlier[order], value[order]
        heads = np.flatnonzero(np.diff(later, prepend=-1))
        tails = np.append(heads, len(later))[1:]
        for a, b in zip(heads.tolist(), tails.tolist(), strict=True):
            kept = np.flatnonzero(alive[earlier[a:b]])
            if len(kept):
                best, row = a + int(kept[0]), int(later[a])
                alive[row], twin[row], similarity[row] = False, earlier[best], value[best]
    return twin, similarity


def components(search: CosineSearch) -> Ints:
    """Return each item's component (n), named by its first item, under the similar pairs."""
    n = search.size
    root, alive = np.arange(n), np.ones(n, dtype=bool)
    for start in range(0, n, BLOCK):
        for later, earlier, _ in search.pairs(start, min(start + BLOCK, n), alive, root):
            link(root, later, earlier)
    return root
