"""Cosine search by clusters: centroids, each vector's nearest few, and what looking there misses.

Two vectors are looked at where the one that comes first lies in a cluster that is among the nearest
ones of the other. Which those are is settled in float64 where float32 leaves a doubt, so that it
does not depend on how many vectors are looked at together.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Ints
from curate.methods.set_join import SimilarPairs
from curate.methods.similarity import BLOCK, CosineSearch
from curate.methods.vectors import DIGITS, load_faiss, nearest, rounding

Singles: TypeAlias = npt.NDArray[np.float32]
Cells: TypeAlias = npt.NDArray[np.int32]

SAMPLE = 1000  # rows of which the approximate search's recall is measured


class ClusteredSearch(CosineSearch):
    """A cosine search that looks only into some clusters; see the module's docstring.

    `vectors` is (n, d) and needs no unit length, `clusters` the number of clusters, and `cells`
    (n, probes) are those of `cells_of`. Raises MissingExtra without faiss.
    """

    def __init__(
        self, vectors: npt.NDArray[Any], threshold: float, clusters: int, cells: Cells
    ) -> None:
        super().__init__(vectors, threshold)
        faiss, width = load_faiss(), self._unit.shape[1]
        self._cells = cells.astype(np.int64)
        self._none = faiss.IndexFlatIP(width)  # the other index holds a bare pointer to it
        self._index = faiss.IndexIVFFlat(self._none, width, clusters, faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = cells.shape[1]
        self._index.is_trained = True

    def _add(self, new: Ints) -> None:
        from faiss.contrib.ivf_tools import add_preassigned

        own = np.ascontiguousarray(self._cells[new, 0])
        add_preassigned(self._index, np.ascontiguousarray(self._unit[new]), own)

    def _look_up(self, start: int, block: Singles) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        from faiss.contrib.ivf_tools import range_search_preassigned

        cells = np.ascontiguousarray(self._cells[start : start + len(block)])
        limits, _, found = range_search_preassigned(self._index, block, self._radius, cells)
        return limits, found

    def _measured(self, later: Ints, earlier: Ints) -> SimilarPairs:
        seen = (self._cells[later] == self._cells[earlier, :1]).any(axis=1)
        return super()._measured(later[seen], earlier[seen])


def centroids(vectors: Singles, clusters: int) -> Singles:
    """Return the unit centroids (clusters, d) of spherical k-means on unit vectors (n, d).

    Seeded; on a sample of 256 vectors a cluster where there are more. n >= clusters >= 1.
    """
    means = load_faiss().Kmeans(
        vectors.shape[1], clusters, niter=20, seed=42, spherical=True, min_points_per_centroid=1
    )
    means.train(np.ascontiguousarray(vectors))
    return np.asarray(means.centroids, dtype=np.float32)


def cells_of(vectors: Singles, middle: Singles, probes: int) -> Cells:
    """Return the `probes` clusters nearest to each of the unit vectors (n, d), the nearest first.

    `middle` (clusters, d) holds the unit centroids. (n, min(probes, clusters)); the others in the
    order of their numbers. Of equally near clusters the first count; a zero vector has those too.
    """
    clusters, width = middle.shape
    probes = min(probes, clusters)
    cells = np.empty((len(vectors), probes), dtype=np.int32)
    wide = middle.astype(np.float64)
    doubt = 2 * rounding(width)
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK])
        cosine = block @ middle.T
        held = min(probes + 1, clusters)  # one more: is it clearly farther?
        found = np.argpartition(-cosine, held - 1, axis=1)[:, :held]
        near = np.take_along_axis(cosine, found, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        found = np.take_along_axis(found, order, axis=1)
        near = np.take_along_axis(near, order, axis=1)
        gap = near[:, :-1] - near[:, 1:]
        unsure = (gap[:, [*{0, probes - 1} & set(range(held - 1))]] <= doubt).any(axis=1)
        exact = np.round(block[unsure].astype(np.float64) @ wide.T, DIGITS)
        found[unsure] = np.argsort(-exact, axis=1, kind="stable")[:, :held]
        found = found[:, :probes]
        found[:, 1:].sort(axis=1)
        cells[start : start + BLOCK] = found
    return cells


def centroid_order(vectors: Singles, clusters: int, keep: Literal["farthest", "nearest"]) -> Ints:
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


def sample_of(size: int) -> Ints:
    """Return the rows of which the recall is measured, spread evenly over `size` rows."""
    return np.unique(np.linspace(0, max(size - 1, 0), SAMPLE).astype(np.int64))[:size]


def sampled_recall(
    vectors: Singles, threshold: float, middle: Singles, probes: int, among: slice = slice(None)
) -> tuple[int, int]:
    """Return how many rows are similar to sampled ones, and how many of these are found.

    Similar means a cosine of `threshold` or more; found, in one of the `probes` clusters of
    `middle` (clusters, d) that are nearest the sampled row. The sample is `sample_of` all rows of
    the unit vectors (n, d); looked for are the rows `among` them.
    """
    sample, (start, _, _) = sample_of(len(vectors)), among.indices(len(vectors))
    rows, others = np.asarray(vectors[sample]), np.asarray(vectors[among])
    row, item, _ = nearest(rows, others, threshold)
    similar = sample[row] != item + start
    row, item = row[similar], item[similar]
    own = cells_of(others, middle, 1)[item]
    found = (cells_of(rows, middle, probes)[row] == own).any(axis=1)
    return len(row), int(found.sum())
