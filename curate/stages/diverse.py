"""Keep the most diverse rows, by their embeddings."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from curate.errors import ConfigError, StageError
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.dedup import with_ranking
from curate.stages.similarity import Floats, Ints
from curate.stages.vectors import best_of, load_faiss, unit, vectors_of

Matrix = npt.NDArray[Any]


class Diverse(Stage, name="diverse"):
    """Keep a diverse subset; the other rows are dropped.

    `keep` is a number of rows, or a share in (0, 1). Methods: "farthest_first" adds, one after
    another, the row farthest from all rows chosen so far, starting at the best one by `quality`
    (or the one nearest the mean); "knn_density" keeps the rows whose `k` nearest neighbours are
    farthest away; "deita" takes rows from best to worst by `quality` and skips those whose cosine
    to a row already taken is above `threshold`, so it may keep fewer. `quality` is "margin",
    "scores" or a numeric column; in a tie the better row wins, then the first.
    """

    scope = "dataset"
    keep: int | float = Field(description="rows to keep, or a share in (0, 1)")
    method: Literal["farthest_first", "knn_density", "deita"] = "farthest_first"
    quality: str | None = None
    k: int = Field(10, ge=1, description="neighbours, for knn_density")
    threshold: float = Field(0.9, gt=-1.0, le=1.0, description="highest cosine, for deita")
    embedding: str = "embedding"

    @field_validator("keep")
    @classmethod
    def _count_or_share(cls, keep: float) -> float:
        if keep >= 1 and float(keep).is_integer():
            return int(keep)
        if 0 < keep < 1:
            return keep
        raise ValueError("give a number of rows (1 or more) or a share between 0 and 1")

    def needed(self) -> tuple[str, ...]:
        """Return the embedding's column and the one that gives the quality."""
        return with_ranking((self.embedding,), self.quality)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each row that is not chosen."""
        n = len(view)
        keep = self.keep if isinstance(self.keep, int) else max(1, math.ceil(self.keep * n))
        chosen = np.arange(n)
        if keep < n:
            quality = best_of(view, self.quality) if self.quality else np.zeros(n)
            chosen = self._choose(unit(vectors_of(view[self.embedding])), quality, keep)
        out = np.ones(n, dtype=bool)
        out[chosen] = False
        why = f"not among the {len(chosen)} most diverse"
        return {DROP: pa.array([why if gone else None for gone in out.tolist()], pa.string())}

    def _choose(self, vectors: Matrix, quality: Floats, keep: int) -> Ints:
        if self.method == "deita":
            return deita(np.argsort(-quality, kind="stable"), vectors, self.threshold, keep)
        if self.method == "knn_density":
            spread = mean_distance(vectors, self.k)
            return np.asarray(np.lexsort((-quality, -spread))[:keep], dtype=np.int64)
        start = int(np.argmax(quality)) if self.quality else nearest_to_mean(vectors)
        return farthest_first(vectors, keep, start)[0]


def farthest_first(vectors: Matrix, keep: int, start: int) -> tuple[Ints, float]:
    """Return `keep` rows of `vectors` (n, d) and the radius: the largest distance left over.

    Greedy k-center (Gonzalez 1985): within twice the best possible radius; takes keep * n * d
    steps. Of equally far rows the first is taken.
    """
    n = len(vectors)
    keep = min(keep, n)
    chosen = np.empty(keep, dtype=np.int64)
    nearest = np.full(n, np.inf)
    square = np.einsum("ij,ij->i", vectors, vectors)
    at = start
    for step in range(keep):
        chosen[step] = at
        away = square + square[at] - 2.0 * (vectors @ vectors[at])
        np.minimum(nearest, np.maximum(away, 0.0), out=nearest)
        nearest[at] = -1.0  # never again, not even among rows that are all alike
        at = int(np.argmax(nearest))
    return chosen, math.sqrt(max(float(nearest.max(initial=0.0)), 0.0))


def nearest_to_mean(vectors: Matrix) -> int:
    """Return the row of `vectors` (n, d) that is nearest their mean."""
    return int(np.argmin(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1)))


def neighbour_distances(vectors: Matrix, k: int) -> Floats:
    """Return the Euclidean distances (n, k) to the k nearest other rows, nearest first.

    `k` is cut to n - 1. Raises MissingExtra without faiss.
    """
    n = len(vectors)
    k = min(k, n - 1)
    wide = np.ascontiguousarray(vectors, dtype=np.float32)
    index = load_faiss().IndexFlatL2(wide.shape[1])
    index.add(wide)
    result = np.empty((n, max(k, 0)))
    for start in range(0, n if k > 0 else 0, 1024):
        rows = np.arange(start, min(start + 1024, n))
        found = index.search(wide[rows], k + 1)[1]
        # A row is its own neighbour, unless so many equal it that it fell off the list.
        itself = found == rows[:, None]
        others = np.take_along_axis(found, np.argsort(itself, axis=1, kind="stable"), 1)[:, :k]
        # faiss works in float32 with cancellation near zero; measure its finds exactly.
        apart = vectors[others].astype(np.float64) - vectors[rows, None].astype(np.float64)
        result[rows] = np.sort(np.sqrt((apart**2).sum(axis=2)), axis=1)
    return result


def mean_distance(vectors: Matrix, k: int) -> Floats:
    """Return each row's mean distance (n) to its k nearest others: small where it is dense."""
    distances = neighbour_distances(vectors, k)
    return distances.mean(axis=1) if distances.shape[1] else np.zeros(len(vectors))


def knn_surprisal(vectors: Matrix, k: int) -> Floats:
    """Return each row's k-nearest-neighbour surprisal (n) in nats; their mean is the entropy.

    Kozachenko-Leonenko: psi(n) - psi(k) + ln c_d + d ln(eps_i), with eps_i the distance to the
    k-th neighbour and c_d the volume of the unit ball. Compare values only for the same encoder,
    n and k. Raises ConfigError unless 1 <= k < n, StageError where k other rows equal a row
    (its density would be infinite).
    """
    n, d = vectors.shape
    if not 1 <= k < n:
        raise ConfigError(f"k must be at least 1 and below the number of rows ({n}), not {k}")
    radius = neighbour_distances(vectors, k)[:, -1]
    if not radius.all():
        raise StageError(f"{int((radius == 0).sum())} rows equal {k} others; dedup them first")
    psi_n_minus_psi_k = float((1.0 / np.arange(k, n)).sum())
    log_ball = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    return np.asarray(psi_n_minus_psi_k + log_ball + d * np.log(radius), dtype=np.float64)


def deita(
    order: npt.ArrayLike, embeddings: Matrix, threshold: float = 0.9, budget: int | None = None
) -> Ints:
    """Return the rows taken, in `order`: each has cosine <= `threshold` to all taken before.

    DEITA's repr filter (Liu et al. 2024). `order` lists rows from best to worst by complexity
    times quality, or by margin; `embeddings` is (n, d); it stops at `budget` rows. The first
    row is always taken.
    """
    rows = np.asarray(order, dtype=np.int64)
    vectors = unit(embeddings)
    taken = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
    chosen: list[int] = []
    for row in rows.tolist():
        if budget is not None and len(chosen) >= budget:
            break
        if not chosen or float((taken[: len(chosen)] @ vectors[row]).max()) <= threshold:
            taken[len(chosen)] = vectors[row]
            chosen.append(row)
    return np.array(chosen, dtype=np.int64)
