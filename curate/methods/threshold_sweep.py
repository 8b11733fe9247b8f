"""What other thresholds would drop: one search at the loosest, then each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints
from curate.methods.set_join import SimilarPairs, join_pairs
from curate.methods.similarity import BLOCK, CosineSearch


def similar_pairs(vectors: npt.NDArray[Any], threshold: float) -> SimilarPairs:
    """Return every pair of rows of `vectors` (n, d) with a cosine of `threshold` or more."""
    search = CosineSearch(vectors, threshold)
    alive: Bools = np.ones(search.size, dtype=bool)
    blocks = (
        search.pairs(start, min(start + BLOCK, search.size), alive, None)
        for start in range(0, search.size, BLOCK)
    )
    return join_pairs([pairs for block in blocks for pairs in block])


class Swept(NamedTuple):
    """What a threshold would do: rows kept, and the dropped rows nearest it with their twins."""

    threshold: float
    kept: int
    examples: list[tuple[int, int, float]]
    """(row dropped, row that stays, cosine), the least alike first."""


def threshold_sweep(
    vectors: npt.NDArray[Any], thresholds: Sequence[float], order: Ints | None = None, show: int = 5
) -> list[Swept]:
    """Return what each threshold would drop, from the strictest to the loosest.

    `vectors` is (n, d); `order` (n) lists rows from best to worst. The search runs once, at the
    loosest threshold; read its examples to choose one.
    """
    order = np.arange(len(vectors)) if order is None else order
    pairs = similar_pairs(vectors[order], min(thresholds))
    result = []
    for threshold in sorted(thresholds, reverse=True):
        twin, cosine = greedy(len(vectors), pairs, threshold)
        gone = np.flatnonzero(twin >= 0)
        shown = gone[np.argsort(cosine[gone], kind="stable")[:show]]
        examples = [(int(order[r]), int(order[twin[r]]), float(cosine[r])) for r in shown]
        result.append(Swept(threshold, len(vectors) - len(gone), examples))
    return result


def greedy(n: int, pairs: SimilarPairs, threshold: float) -> tuple[Ints, Floats]:
    """Return each item's twin (n; -1 where it stays) and its similarity, as `keep_greedily` does.

    `pairs` holds all similar pairs of the n items at some lower threshold.
    """
    twin, similarity = np.full(n, -1, dtype=np.int64), np.zeros(n)
    use = pairs.similarity >= threshold - 1e-6
    order = np.lexsort((pairs.earlier[use], -pairs.similarity[use], pairs.later[use]))
    columns = (column[use][order].tolist() for column in pairs)
    for later, earlier, value in zip(*columns, strict=True):
        if twin[later] < 0 and twin[earlier] < 0:
            twin[later], similarity[later] = earlier, value
    return twin, similarity
