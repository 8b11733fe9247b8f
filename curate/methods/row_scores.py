"""Several numbers of a row to one: what rows are ranked by where one number does not say it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats

How: TypeAlias = Literal["product", "sum"]


def standardised(values: Floats) -> Floats:
    """Return z-scores (n), by the population's deviation; 0 where all values are alike."""
    if not len(values) or float(np.ptp(values)) == 0:
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float64)


def to_unit_interval(quality: Floats) -> Floats:
    """Return quality (n) scaled so that the worst is 0 and the best 1; 0 where all are alike."""
    if not len(quality):
        return quality
    low, high = float(quality.min()), float(quality.max())
    return (quality - low) / (high - low) if high > low else np.zeros(len(quality))


def row_scores(
    numbers: npt.ArrayLike, how: How, weights: npt.ArrayLike, standardise: bool = False
) -> Floats:
    """Return one number a row from `numbers` (names, rows); NaN where one of them is missing.

    "product" is that of the numbers, each to the power of its weight; "sum" that of the numbers
    times their `weights` (names,). With `standardise` each is put in standard deviations from its
    mean first, over the rows that have all of them. Complexity times quality is DEITA's rank (Liu
    et al. 2024); FiFA's (Yang et al. 2024) is a sum of standardised ones. NaN too for a fractional
    power of a negative number.
    """
    given, weight = np.asarray(numbers, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    whole = ~np.isnan(given).any(axis=0)
    known = given[:, whole]
    if standardise:
        known = np.stack([standardised(one) for one in known]) if len(known) else known
    found = np.full(given.shape[1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        if how == "product":
            made = (known ** weight[:, None]).prod(axis=0)
        else:
            made = (known * weight[:, None]).sum(axis=0)
    found[whole] = np.where(np.isfinite(made), made, np.nan)
    return found
