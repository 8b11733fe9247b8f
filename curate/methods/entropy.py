"""Choosing rows that are good and far from each other, by the k-NN entropy (FiFA)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats, Ints
from curate.methods.coverage import Quota, first_of, greedy

Matrix = npt.NDArray[Any]

FLOOR = 1e-6  # added to distances: the logarithm of a copy's distance is finite


def entropy_greedy(
    vectors: Matrix,
    quality: Floats,
    distance: Floats,
    keep: int,
    weight: float = 0.5,
    quota: Quota | None = None,
) -> Ints:
    """Return `keep` rows by quality + weight * z(log distance), scored again after each choice.

    `quality` (n) is as it is, `distance` (n) that to the k-th nearest neighbour among all rows,
    of which the logarithm is put in standard deviations from its mean. After FiFA (Yang et al.
    2024), whose set objective, the mean logarithm being the k-NN entropy, is the sum of these. A
    row's distance is that to its k-th neighbour or to the nearest row chosen, if that is nearer:
    two rows that are alike are not both chosen for lying far from all others.
    """
    logs = np.log(distance + FLOOR)
    mean, deviation = (float(logs.mean()), float(logs.std())) if len(logs) else (0.0, 0.0)

    def value(rows: Ints, square: Floats) -> Floats:
        near = np.log(np.minimum(distance[rows], np.sqrt(square)) + FLOOR)
        spread = (near - mean) / (deviation or 1.0)
        return np.asarray(quality[rows] + weight * spread, dtype=np.float64)

    quota = quota or Quota.none(len(vectors))
    everything = np.arange(len(vectors))
    first = first_of(value(everything, np.full(len(vectors), np.inf)), quota)
    return greedy(vectors, keep, first, value, quota)[0]
