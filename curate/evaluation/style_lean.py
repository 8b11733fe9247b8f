"""What length and markdown weigh in a judge's verdicts, beside what they weigh for humans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats
from curate.methods.crowd import logistic
from curate.methods.style import fit_logistic

FEATURES = ("length", "headers", "lists", "bold")  # the columns of `style_difference`, "density"
RIDGE = 1e-3


class StyleLean(NamedTuple):
    """Weights of style in two voters' verdicts, and the difference with its standard error."""

    judge: Floats
    human: Floats
    difference: Floats
    error: Floats


def style_lean(
    judge: Floats, human: Floats, differences: Floats, groups: npt.ArrayLike
) -> StyleLean:
    """Return what style weighs for a judge and for humans on the same n decided comparisons.

    `judge` and `human` (n,) are above 0 where they prefer a. Bradley-Terry with style alone:
    P(a) = logistic(w f), f being `differences` (n, k) over their root mean square, not centred,
    which would break the symmetry of a and b (after Arena-Hard's style control, Li et al. 2024).
    A judge that leans like the humans has a difference of 0. Standard errors are robust to
    whatever the comparisons of one prompt (`groups`) share.
    """
    scale = np.sqrt((differences**2).mean(axis=0))
    f = differences / np.where(scale > 0, scale, 1.0)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    fits = [_influences(f, (side > 0).astype(np.float64)) for side in (judge, human)]
    moved = fits[0][1] - fits[1][1]
    by_group = np.stack([np.bincount(codes, column) for column in moved.T], axis=1)
    error = np.sqrt((by_group**2).sum(axis=0))
    return StyleLean(fits[0][0], fits[1][0], fits[0][0] - fits[1][0], error)


def _influences(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the fitted weights, and how far each item moved them."""
    weights = fit_logistic(x, y, RIDGE).weight
    p = logistic(x @ weights)
    curvature = (x * (p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(x.shape[1])
    return weights, np.asarray(np.linalg.solve(curvature, (x * (y - p)[:, None]).T).T)
