"""How far raters agree, beyond chance: alpha; kappa stands in `methods.concord`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats


def confusion(one: npt.ArrayLike, two: npt.ArrayLike, classes: npt.ArrayLike) -> Floats:
    """Return how often (classes, classes) rater one said classes[i] and rater two classes[j].

    `one` and `two` are (n,); NaN is no vote.
    """
    names = np.asarray(classes, dtype=np.float64)
    first = np.asarray(one, dtype=np.float64)[:, None] == names
    second = np.asarray(two, dtype=np.float64)[:, None] == names
    return np.asarray(first.T.astype(np.float64) @ second.astype(np.float64))


def krippendorff_alpha(ratings: npt.ArrayLike) -> float:
    """Return Krippendorff's nominal alpha of (raters, items), NaN where a rater gave no value.

    1 - observed / expected disagreement over the pairable values, that is of items with two
    ratings or more (Krippendorff 2011). NaN where nothing is pairable or all values are equal.
    """
    values = np.asarray(ratings, dtype=np.float64)
    names = np.unique(values[~np.isnan(values)])
    counts = (values.T[:, :, None] == names).sum(axis=1).astype(np.float64)
    size = counts.sum(axis=1)
    counts = counts[size >= 2]
    size = size[size >= 2]
    margin = counts.sum(axis=0)
    total = margin.sum()
    if total < 2:
        return float("nan")
    each = counts / (size - 1)[:, None]
    together = counts.T @ each - np.diag(each.sum(axis=0))
    distance = 1.0 - np.eye(len(names))
    expected = (np.outer(margin, margin) * distance).sum()
    if not expected:
        return float("nan")
    return float(1.0 - (total - 1) * (together * distance).sum() / expected)
