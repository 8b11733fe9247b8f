"""Drop prompts that say the same in other words, by their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import join_texts
from curate.methods.set_join import Pairs, join_pairs
from curate.methods.similarity import (
    BLOCK,
    COSINE_SLACK,
    CosineSearch,
    Floats,
    Ints,
    Mask,
    keep_greedily,
)
from curate.methods.vectors import load_faiss, nearest, unit_rows
from curate.stage import Context, Result, Stage
from curate.stages.dedup import percent, reorder
from curate.stages.dedup_items import (
    Items,
    drop_items,
    item_order,
    items_of,
    names_of,
    with_ranking,
)

SAMPLE = 1000  # rows of which the approximate search's recall is measured


class SemanticDedup(Stage, name="semantic_dedup"):
    """Drop rows whose embedding has a cosine of `threshold` or more to a row that stays.

    Up to `exact_up_to` rows every pair is looked at. Above, the vectors are clustered as in
    SemDeDup (Abbas et al. 2023), but each row is looked up in the `probes` nearest clusters and
    not in its own alone, so duplicates on both sides of a border are found; `counts` reports how
    many of the duplicates of 1,000 sampled rows were. Unlike there, nothing is dropped for being
    similar to a row that is itself dropped.

    The cosine that means "the same" differs from encoder to encoder: try some with
    `threshold_sweep`, and read the pairs it shows.
    """

    scope = "dataset"
    needs = ("id",)
    embedding: str = "embedding"
    """The column of vectors."""
    threshold: float = Field(0.85, gt=0.0, le=1.0)
    """Cosine from which to drop."""
    keep_by: str | None = None
    """What stays among similar ones: the best by this column of numbers (a list's largest counts,
    as with "scores") or number of the pairs (margin, p_correct)."""
    keep: Literal["first", "farthest", "nearest"] = "first"
    """Without `keep_by`: the first, or the one farthest from (as SemDeDup does: the rare case)
    or nearest to the centroid of its cluster."""
    clusters: int | None = Field(None, ge=1)
    """Clusters; by default the square root of the number of rows."""
    exact_up_to: int = Field(50_000, ge=0)
    """Up to so many rows every pair is looked at."""
    probes: int = Field(16, ge=1)
    """Clusters in which a row is looked up, above that."""

    @model_validator(mode="after")
    def _one_order(self) -> SemanticDedup:
        if self.keep_by is not None and self.keep != "first":
            raise ValueError("give `keep_by` or `keep`, not both")
        return self

    def needed(self) -> tuple[str, ...]:
        """Return the embedding's column and the one that ranks rows."""
        return with_ranking((*self.needs, self.embedding), self.keep_by)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each duplicate: the row that stays, and the cosine to it."""
        items = items_of(view, "prompt")
        search, order = self._search(view, items, ctx)
        twin, cosine = reorder(*keep_greedily(search), order)
        which = np.flatnonzero(twin >= 0)
        name = names_of(view, "prompt", items, twin[which])
        why = join_texts("semantic duplicate of ", name, percent(cosine[which]))
        return drop_items(view, "prompt", items, which, why)

    def _search(self, view: pa.Table, items: Items, ctx: Context) -> tuple[CosineSearch, Ints]:
        """Return the search, and the order in which its items stand, best first."""
        order = item_order(view, "prompt", items, self.keep_by)
        ranked = unit_rows(view[self.embedding], order)
        if self.keep != "first":
            inner = centroid_order(ranked, self._count(len(view)), self.keep)
            ranked, order = ranked[inner], order[inner]
        if len(view) <= self.exact_up_to:
            return CosineSearch(ranked, self.threshold), order
        middle = centroids(ranked, self._count(len(view)))
        there, found = sampled_recall(ranked, self.threshold, middle, self.probes)
        ctx.counts["similar pairs of sampled rows"] = there
        ctx.counts["similar pairs of sampled rows that clusters find"] = found
        return ClusteredSearch(ranked, self.threshold, middle, self.probes), order

    def _count(self, rows: int) -> int:
        return min(self.clusters or max(1, round(rows**0.5)), max(rows, 1))


class ClusteredSearch(CosineSearch):
    """A cosine search that looks only into the `probes` clusters whose centroids are nearest.

    `vectors` is (n, d) and needs no unit length, `middle` (clusters, d) holds the centroids.
    Raises MissingExtra without faiss.
    """

    def __init__(
        self,
        vectors: npt.NDArray[Any],
        threshold: float,
        middle: npt.NDArray[np.float32],
        probes: int,
    ) -> None:
        super().__init__(vectors, threshold)
        self._index = ClusteredIndex(middle, probes)


class ClusteredIndex:
    """The part of a faiss index that CosineSearch uses, in clusters."""

    def __init__(self, middle: npt.NDArray[np.float32], probes: int) -> None:
        faiss = load_faiss()
        clusters, dimension = middle.shape
        self._middle = faiss.IndexFlatIP(dimension)  # the other index holds a bare pointer to it
        self._middle.add(middle)
        self._index = faiss.IndexIVFFlat(
            self._middle, dimension, clusters, faiss.METRIC_INNER_PRODUCT
        )
        self._index.nprobe = min(probes, clusters)
        self._index.is_trained = True

    def add(self, vectors: npt.NDArray[np.float32]) -> None:
        """Put each of the vectors (n, d) into the cluster of its nearest centroid."""
        self._index.add(vectors)

    def range_search(
        self, vectors: npt.NDArray[np.float32], radius: float
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], Ints]:
        """Return (limits, cosines, found) of those above `radius`, as faiss does."""
        limits, cosine, found = self._index.range_search(vectors, radius)
        return limits, cosine, found


def centroids(vectors: npt.NDArray[np.float32], clusters: int) -> npt.NDArray[np.float32]:
    """Return the unit centroids (clusters, d) of spherical k-means on unit vectors (n, d).

    Seeded; on a sample of 256 vectors a cluster where there are more. n >= clusters >= 1.
    """
    means = load_faiss().Kmeans(
        vectors.shape[1], clusters, niter=20, seed=42, spherical=True, min_points_per_centroid=1
    )
    means.train(np.ascontiguousarray(vectors))
    return np.asarray(means.centroids, dtype=np.float32)


def centroid_order(
    vectors: npt.NDArray[np.float32], clusters: int, keep: Literal["farthest", "nearest"]
) -> Ints:
    """Return the rows of unit vectors (n, d) in the order in which they should be kept.

    By their cosine to the centroid of their own cluster; equal ones in order.
    """
    if not len(vectors):
        return np.zeros(0, dtype=np.int64)
    own = np.empty(len(vectors))
    middle = centroids(vectors, clusters)
    for start in range(0, len(vectors), BLOCK):
        own[start : start + BLOCK] = (vectors[start : start + BLOCK] @ middle.T).max(axis=1)
    return np.argsort(own if keep == "farthest" else -own, kind="stable")


def sampled_recall(
    vectors: npt.NDArray[np.float32],
    threshold: float,
    middle: npt.NDArray[np.float32],
    probes: int,
) -> tuple[int, int]:
    """Return how many rows are similar to 1,000 sampled ones, and how many of these are found.

    Similar means a cosine of `threshold` or more; found, in the `probes` clusters of `middle`
    (clusters, d) nearest the sampled row. The sample is spread evenly over unit `vectors` (n, d).
    """
    sample = np.unique(np.linspace(0, max(len(vectors) - 1, 0), SAMPLE).astype(np.int64))
    rows = np.ascontiguousarray(vectors[sample[: len(vectors)]])
    index = ClusteredIndex(middle, probes)
    index.add(np.ascontiguousarray(vectors))
    there = len(nearest(rows, vectors, threshold)[0])
    found = len(index.range_search(rows, threshold - COSINE_SLACK)[1])
    return there - len(rows), found - len(rows)  # each finds itself


def similar_pairs(vectors: npt.NDArray[Any], threshold: float) -> Pairs:
    """Return every pair of rows of `vectors` (n, d) with a cosine of `threshold` or more."""
    search = CosineSearch(vectors, threshold)
    alive: Mask = np.ones(search.size, dtype=bool)
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


def greedy(n: int, pairs: Pairs, threshold: float) -> tuple[Ints, Floats]:
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
