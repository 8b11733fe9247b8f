"""How diverse a selection is, next to random selections of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats, Ints
from curate.errors import ConfigError
from curate.methods.spread import novel_sum, vendi_of_cosines
from curate.methods.vectors import unit

Matrix = npt.NDArray[Any]

BLOCK = 8192  # rows of one matrix product
NOVEL = 500  # most rows whose pairs are all looked at
NEAREST = 10  # neighbours that a density is made of


class Measure(NamedTuple):
    """One number of a selection, and the same of random selections of its size.

    `random` is the mean of the random ones, `low` and `high` their 2.5th and 97.5th percentile.
    """

    value: float
    random: float
    low: float
    high: float


class SelectionReport(NamedTuple):
    """`neighbour_cosine`: mean over chosen rows of the highest cosine to another chosen row (low
    is diverse). `coverage_cosine`: mean over all rows of the highest cosine to a chosen one (high
    is representative). `radius`: the largest Euclidean distance, between unit vectors, of a row
    to the nearest chosen one. `vendi`: the effective number of distinct rows among the chosen.
    `novelty`: NovelSum of the chosen, which counts distance for more where rows are dense (both in
    `methods.spread`). `labels`: distinct labels among the chosen, None without labels.
    """

    size: int
    neighbour_cosine: Measure
    coverage_cosine: Measure
    radius: Measure
    vendi: Measure
    novelty: Measure
    labels: Measure | None


def selection_report(
    vectors: Matrix,
    chosen: npt.ArrayLike,
    labels: Sequence[object] | None = None,
    trials: int = 40,
    sample: int = 2000,
    seed: int = 0,
) -> SelectionReport:
    """Compare the rows `chosen` of `vectors` (n, d) with `trials` random choices of as many.

    Vectors of any length; a zero has cosine 0 to all. Averages and the radius are taken over at
    most `sample` rows, drawn by `seed`, the same for all choices. A choice of no rows has NaN.
    Raises ConfigError where a row is chosen twice or is not there.
    """
    rows, n = np.asarray(chosen, dtype=np.int64), len(vectors)
    if len(np.unique(rows)) < len(rows) or (len(rows) and not 0 <= rows.min() <= rows.max() < n):
        raise ConfigError(f"chosen rows must be distinct and in 0 to {n - 1}")
    rng = np.random.default_rng(seed)
    probes = np.sort(rng.choice(n, min(sample, n), replace=False))
    names = np.unique([repr(label) for label in labels], return_inverse=True)[1] if labels else None
    measured = np.array(
        [
            _measured(vectors, rows if trial == 0 else _drawn(rng, n, len(rows)), probes, names)
            for trial in range(trials + 1)
        ]
    )
    found = [_compare(measured[0, i], measured[1:, i]) for i in range(measured.shape[1])]
    near, cover, radius, distinct, novelty, known = found
    reached = known if names is not None else None
    return SelectionReport(len(rows), near, cover, radius, distinct, novelty, reached)


def _drawn(rng: np.random.Generator, n: int, size: int) -> Ints:
    return np.asarray(rng.choice(n, size, replace=False), dtype=np.int64)


def _compare(value: float, random: npt.NDArray[np.float64]) -> Measure:
    if not len(random):
        return Measure(float(value), np.nan, np.nan, np.nan)
    low, high = np.percentile(random, [2.5, 97.5])
    return Measure(float(value), float(random.mean()), float(low), float(high))


def _measured(vectors: Matrix, rows: Ints, probes: Ints, names: Ints | None) -> tuple[float, ...]:
    """Return what a SelectionReport holds of one selection."""
    labels = float(len(np.unique(names[rows]))) if names is not None else np.nan
    if not len(rows):
        return *[np.nan] * 5, labels
    some = rows[np.linspace(0, len(rows) - 1, min(len(probes), len(rows))).astype(np.int64)]
    own, other = np.full(len(some), -np.inf), np.full(len(probes), -np.inf)
    inside, outside = unit(vectors[some]), unit(vectors[probes])
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        held = unit(vectors[part])
        cosine = inside @ held.T
        cosine[some[:, None] == part[None, :]] = -np.inf  # a row is not its own neighbour
        np.maximum(own, cosine.max(axis=1), out=own)
        np.maximum(other, (outside @ held.T).max(axis=1), out=other)
    radius = float(np.sqrt(np.maximum(2.0 - 2.0 * other.min(), 0.0)))
    mean = float(own.mean()) if len(rows) > 1 else np.nan
    few = np.linspace(0, len(some) - 1, min(NOVEL, len(some))).astype(np.int64)
    novelty = novel_sum(inside[few], _density(vectors, some[few], probes))
    return mean, float(other.mean()), radius, vendi_of_cosines(inside), novelty, labels


def _density(vectors: Matrix, rows: Ints, crowd: Ints) -> Floats:
    """Return 1 over the rows' mean cosine distance to their nearest others in the crowd."""
    near = min(NEAREST, len(crowd) - 1) or 1
    cosine = unit(vectors[rows]) @ unit(vectors[crowd]).T
    cosine[rows[:, None] == crowd[None, :]] = -1.0
    away = 1.0 - np.partition(cosine, len(crowd) - near, axis=1)[:, -near:]
    return np.asarray(1.0 / np.maximum(away.mean(axis=1, dtype=np.float64), 1e-3))
