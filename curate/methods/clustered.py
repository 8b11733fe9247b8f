"""Cosine search by clusters: centroids, a search in the nearest few, and what it misses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curate.arrays import Ints
from curate.methods.similarity import BLOCK, COSINE_SLACK, CosineSearch
from curate.methods.vectors import load_faiss, nearest

SAMPLE = 1000  # rows of which the approximate search's recall is measured


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
