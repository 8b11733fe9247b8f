"""FiFA's score of a row, margin, quality and distance in one, and choosing by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.methods.coverage import Quota, first_of, greedy
from curate.methods.similarity import Floats, Ints

Matrix = npt.NDArray[Any]

FLOOR = 1e-6  # added to distances: the logarithm of a copy's distance is finite


def standardised(values: Floats) -> Floats:
    """Return z-scores (n), by the population's deviation; 0 where all values are alike."""
    if not len(values) or float(np.ptp(values)) == 0:
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float64)


def fifa_scores(
    margin: Floats,
    quality: Floats,
    distance: Floats,
    quality_weight: float = 0.5,
    entropy_weight: float = 0.5,
) -> Floats:
    """Return z(margin) + quality_weight z(quality) + entropy_weight z(log distance), each (n).

    `distance` is that to the k-th nearest neighbour among all rows. After FiFA (Yang et al.
    2024), whose set objective is the sum of these per row, for margins as they are or absolute.
    """
    spread = standardised(np.log(distance + FLOOR))
    return np.asarray(
        standardised(margin) + quality_weight * standardised(quality) + entropy_weight * spread,
        dtype=np.float64,
    )


def fifa_greedy(
    vectors: Matrix,
    margin: Floats,
    quality: Floats,
    distance: Floats,
    keep: int,
    quality_weight: float = 0.5,
    entropy_weight: float = 0.5,
    quota: Quota | None = None,
) -> Ints:
    """Return `keep` rows by FiFA's score, re-scored after each choice.

    A row's distance is that to its k-th neighbour or to the nearest row chosen, if that is
    nearer: two rows that are alike are not both chosen for lying far from all others.
    """
    logs = np.log(distance + FLOOR)
    mean, deviation = (float(logs.mean()), float(logs.std())) if len(logs) else (0.0, 0.0)
    fixed = standardised(margin) + quality_weight * standardised(quality)

    def value(rows: Ints, square: Floats) -> Floats:
        near = np.log(np.minimum(distance[rows], np.sqrt(square)) + FLOOR)
        spread = (near - mean) / (deviation or 1.0)
        return np.asarray(fixed[rows] + entropy_weight * spread, dtype=np.float64)

    quota = quota or Quota.none(len(vectors))
    everything = np.arange(len(vectors))
    first = first_of(value(everything, np.full(len(vectors), np.inf)), quota)
    return greedy(vectors, keep, first, value, quota)[0]
