"""Does 0.8 mean right in four of five cases? Errors of probabilities, and a temperature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from curate.arrays import Bools, Floats
from curate.methods.crowd import logistic


class Reliability(NamedTuple):
    """Each non-empty bin of predicted probability: (low, high], its items, and what happened."""

    low: Floats
    high: Floats
    size: Floats
    predicted: Floats
    observed: Floats


def reliability(p: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> Reliability:
    """Return predicted and observed frequencies in `bins` bins of equal width.

    A bin holds (low, high]; 0 itself is in the first. `right` is 0 or 1.
    """
    probability, outcome = (np.asarray(v, dtype=np.float64) for v in (p, right))
    edges = np.linspace(0.0, 1.0, bins + 1)
    at = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins).astype(np.float64)
    held = count > 0
    predicted = np.bincount(at, probability, bins)[held] / count[held]
    observed = np.bincount(at, outcome, bins)[held] / count[held]
    return Reliability(edges[:-1][held], edges[1:][held], count[held], predicted, observed)


def calibration_error(p: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error: the bins' gaps, weighted by their items.

    After Naeini et al. (2015). It is never 0 for a finite sample: see `chance_error`. NaN for
    no item.
    """
    found = reliability(p, right, bins)
    total = found.size.sum()
    gaps = np.abs(found.predicted - found.observed) * found.size
    return float(gaps.sum() / total) if total else float("nan")


def chance_error(p: npt.ArrayLike, bins: int = 10, seed: int = 0, draws: int = 200) -> float:
    """Return the mean calibration error that perfectly calibrated `p` (n,) would show by chance."""
    probability = np.asarray(p, dtype=np.float64)
    random = np.random.default_rng(seed)
    return float(
        np.mean(
            [
                calibration_error(probability, random.random(len(probability)) < probability, bins)
                for _ in range(draws)
            ]
        )
    )


def brier(p: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Return the mean squared difference of probability and outcome (Brier 1950)."""
    gap = np.asarray(p, dtype=np.float64) - np.asarray(right, dtype=np.float64)
    return float((gap**2).mean()) if len(gap) else float("nan")


def temperature(margin: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Return T > 0 that minimises the log-loss of logistic(margin / T) (Guo et al. 2017).

    By bisection of the slope in 1/T, within [1e-4, 1e4]. 1e4, which makes every probability a
    half, means that the margin does not point the right way.
    """
    m, y = (np.asarray(v, dtype=np.float64) for v in (margin, right))

    def slope(inverse: float) -> float:
        return float((m * (logistic(m * inverse) - y)).sum())

    low, high = 1e-4, 1e4
    if slope(low) >= 0:
        return 1e4
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1.0 / np.sqrt(low * high))


def random_orientation(ids: npt.ArrayLike, seed: int = 0) -> Bools:
    """Return, for each comparison, whether to look at it the other way round: a seeded hash.

    With the chosen answer always first every outcome would be 1, and an error of probabilities
    could be hidden by predicting 1. `ids` (n,) name the comparisons.
    """
    names = np.asarray(ids, dtype=object)
    bits = [xxhash.xxh3_64_intdigest(str(name).encode(), seed) & 1 for name in names]
    return np.array(bits, dtype=bool)
