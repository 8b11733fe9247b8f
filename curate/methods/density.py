"""How dense vectors lie: distances, k-NN surprisal, whose mean is the entropy, their dimension."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats
from curate.errors import ConfigError, StageError
from curate.methods.neighbours import Graph
from curate.methods.vectors import DIGITS

Matrix = npt.NDArray[Any]


def knn_surprisal(radius: Floats, dimensions: float, k: int) -> Floats:
    """Return each row's k-nearest-neighbour surprisal (n) in nats; their mean is the entropy.

    `radius` (n) is the distance to the k-th neighbour. Kozachenko-Leonenko: psi(n) - psi(k) +
    ln c_d + d ln(radius), c_d the volume of the unit ball in d `dimensions`. Compare values only
    for the same encoder, n and k. Raises ConfigError unless 1 <= k < n, StageError where k other
    rows equal a row (its density would be infinite).
    """
    n, d = len(radius), dimensions
    if not 1 <= k < n:
        raise ConfigError(f"k must be at least 1 and below the number of rows ({n}), not {k}")
    if not radius.all():
        raise StageError(f"{int((radius == 0).sum())} rows equal {k} others; dedup them first")
    psi_n_minus_psi_k = float((1.0 / np.arange(k, n)).sum())
    log_ball = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    return np.asarray(psi_n_minus_psi_k + log_ball + d * np.log(radius), dtype=np.float64)


def intrinsic_dimension(distance: Floats) -> float:
    """Return the dimension that n rows fill, from distances (n, k) to their k >= 3 neighbours.

    The maximum likelihood estimate of Levina and Bickel (2004), averaged over the rows: (k - 2) /
    sum of ln(farthest / nearer). Rows with a copy of themselves are left out. Raises StageError
    where none is left, or all neighbours of a row are equally far.
    """
    apart = distance[(distance > 0).all(axis=1)]
    steps = np.log(apart[:, -1:] / apart[:, :-1]).sum(axis=1)
    if not len(steps) or not steps.all():
        raise StageError("too many rows are equal or equally far apart; dedup them first")
    return float(((distance.shape[1] - 2) / steps).mean())


def distance_from_mean(vectors: Matrix, block: int = 8192) -> Floats:
    """Return the squared distance (n) of each row of `vectors` (n, d) to their mean."""
    away = np.empty(len(vectors))
    mean = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(0)
    for start in range(0, len(vectors), block):
        apart = vectors[start : start + block] - mean
        away[start : start + block] = np.round(np.einsum("ij,ij->i", apart, apart), DIGITS)
    return away


def mean_distance(graph: Graph) -> Floats:
    """Return each row's mean distance (n) to its neighbours: small where it is dense.

    A neighbour that an approximate graph did not find counts as infinitely far.
    """
    if not graph.distance.shape[1]:
        return np.zeros(len(graph.distance))
    return np.asarray(graph.distance.mean(axis=1), dtype=np.float64)
