"""Reward heads: linear Bradley-Terry models over frozen features, one for each bootstrap sample.

A head is trained on the very labels that are in doubt, so a pair is only ever scored by heads
that saw nothing of its prompt (cross-fitting). Several heads, each from its own resample of the
prompts, show how far the rewards depend on which prompts there happened to be.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, mix

RIDGE = 20.0  # holds a weight at 0 about as firmly as so many pairs could
DIGITS = 4  # what the search leaves undecided, and processors round differently, lies below
_POISSON = np.cumsum([np.exp(-1.0) / f for f in (1, 1, 2, 6, 24, 120, 720, 5040, 40320)])


def fit_head(features: Floats, weight: Floats, ridge: float = RIDGE) -> Floats:
    """Return the weights (d,) of a linear reward that ranks chosen above rejected.

    `features` (pairs, d) are those of the chosen answer less those of the rejected one, and
    `weight` (pairs,) says how often each pair counts. Minimises the sum of
    weight * -log sigmoid(features @ w), plus `ridge` times half the squared weights: convex, so
    the result depends on the data alone (Bradley and Terry 1952). By Newton's method.
    """
    counts = weight > 0
    x, n = features[counts], weight[counts]
    w = np.zeros(x.shape[1])
    penalty = ridge * np.eye(len(w))
    for _ in range(100):
        wrong = np.exp(-np.logaddexp(0.0, x @ w))  # sigmoid(-margin)
        slope = ridge * w - x.T @ (n * wrong)
        curve = (x * (n * wrong * (1.0 - wrong))[:, None]).T @ x
        step = np.linalg.solve(curve + penalty, slope)
        w = w - step / max(1.0, float(np.abs(step).max(initial=0.0)) / 2)  # no wild first step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return w


def bootstrap(keys: npt.NDArray[np.uint64], head: int) -> Floats:
    """Return how often (n,) each item is drawn for a head: Poisson with mean 1, by hash.

    Items with equal `keys` are drawn together. With a count for each item apart from all
    others, the draw does not depend on their order (the Poisson bootstrap, Oza 2001).
    """
    drawn = (mix(keys, head) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.searchsorted(_POISSON, drawn, side="right").astype(np.float64)


def cross_fitted_rewards(
    features: Floats,
    chosen: Ints,
    rejected: Ints,
    fold: Ints,
    keys: npt.NDArray[np.uint64],
    *,
    heads: int = 10,
    ridge: float = RIDGE,
) -> Floats:
    """Return rewards (candidates, heads) by heads that saw no pair of the candidate's fold.

    `features` (candidates, d) with NaN rows for candidates that have none; `chosen` and
    `rejected` (pairs,) index them; `fold` and `keys` (candidates,) are those of the prompt. NaN
    where there are no features, or no pair in any other fold. Rounded to `DIGITS`. Memory is
    that of three float64 matrices of (pairs, d).
    """
    known: Bools = np.asarray(np.isfinite(features).all(axis=1))
    usable = known[chosen] & known[rejected]
    chosen, rejected = chosen[usable], rejected[usable]
    difference = np.asarray(features[chosen], dtype=np.float64)
    difference -= features[rejected]
    rewards = np.full((len(features), heads), np.nan)
    for held in np.unique(fold[known]).tolist():
        seen = np.asarray(fold[chosen] != held)
        here = np.flatnonzero(known & (fold == held))
        for head in range(heads if seen.any() else 0):
            weight = seen * bootstrap(keys[chosen], head)
            rewards[here, head] = features[here] @ fit_head(difference, weight, ridge)
    return np.asarray(np.round(rewards, DIGITS))
