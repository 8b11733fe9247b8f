"""How far raters agree, beyond chance: alpha, tau; kappa stands in `methods.concord`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]


def confusion(one: npt.ArrayLike, two: npt.ArrayLike, classes: npt.ArrayLike) -> Floats:
    """Return how often rater one said classes[i] and rater two classes[j]; NaN is no vote."""
    names = np.asarray(classes, dtype=np.float64)
    first = np.asarray(one, dtype=np.float64)[:, None] == names
    second = np.asarray(two, dtype=np.float64)[:, None] == names
    return np.asarray(first.T.astype(np.float64) @ second.astype(np.float64))


def krippendorff_alpha(ratings: npt.ArrayLike, level: Level = "nominal") -> float:
    """Return Krippendorff's alpha of (raters, items), NaN where a rater gave no value.

    1 - observed / expected disagreement over the pairable values, that is of items with two
    ratings or more (Krippendorff 2011). NaN where nothing is pairable or all values are equal.
    """
    values = np.asarray(ratings, dtype=np.float64)
    names = np.unique(values[~np.isnan(values)])
    counts = np.stack([(values == name).sum(axis=0) for name in names], axis=1).astype(np.float64) \
        if len(names) else np.zeros((values.shape[1], 0))  # fmt: skip
    size = counts.sum(axis=1)
    counts = counts[size >= 2]
    size = size[size >= 2]
    margin = counts.sum(axis=0)
    total = margin.sum()
    if total < 2:
        return float("nan")
    together = counts.T @ (counts / (size - 1)[:, None]) - np.diag((counts / (size - 1)[:, None]).sum(axis=0))  # noqa: E501 # fmt: skip
    distance = _distance(names, margin, level)
    expected = (np.outer(margin, margin) * distance).sum()
    if not expected:
        return float("nan")
    return float(1.0 - (total - 1) * (together * distance).sum() / expected)


def _distance(names: Floats, margin: Floats, level: Level) -> Floats:
    """Return the squared differences between values that alpha's level asks for."""
    if level == "nominal":
        return 1.0 - np.eye(len(names))
    if level == "interval":
        return np.asarray((names[:, None] - names) ** 2)
    ranks = np.cumsum(margin) - margin / 2  # the middle rank of each value
    return np.asarray((ranks[:, None] - ranks) ** 2)


def kendall_tau(one: npt.ArrayLike, two: npt.ArrayLike) -> float:
    """Return Kendall's tau-b (ties allowed) of two score lists; NaN where one is constant."""
    x, y = (np.asarray(v, dtype=np.float64) for v in (one, two))
    i, j = np.triu_indices(len(x), 1)
    dx, dy = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
    with np.errstate(invalid="ignore"):
        return float((dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum()))


def gap_confirmation(scores: npt.ArrayLike, gap: float) -> float:
    """Return how often a gap in one score is confirmed by the other scores.

    `scores` is (prompts, candidates, k) with k >= 2 independent scores of each candidate. Of
    all unordered pairs of candidates of one prompt whose first scores differ by `gap` or more,
    the share in which the means of the other k - 1 scores differ in the same direction; equal
    means do not confirm. A pair with a missing (NaN) score is left out. Raises ValueError where
    no pair has that gap, or the shape is wrong.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or values.shape[2] < 2:
        raise ValueError(f"scores must be (prompts, candidates, k >= 2), not {values.shape}")
    i, j = np.triu_indices(values.shape[1], 1)
    first = values[:, i, 0] - values[:, j, 0]
    others = (values[:, i, 1:] - values[:, j, 1:]).sum(axis=2)
    wide = (np.abs(first) >= gap) & (first != 0) & ~np.isnan(others)
    if not wide.any():
        raise ValueError(f"no pair of candidates has a gap of {gap} or more")
    return float((first * others > 0)[wide].mean())
