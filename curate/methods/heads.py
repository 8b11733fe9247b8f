"""Reward heads: linear Bradley-Terry models over frozen features, one for each bootstrap sample.

A head is trained on the very labels that are in doubt, so a pair is only ever scored by heads
that saw nothing of its prompt (cross-fitting). Several heads, each from its own resample of the
prompts, show how far the rewards depend on which prompts there happened to be.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, mix

RIDGE = 20.0  # holds a weight at 0 about as firmly as so many pairs could
BLOCK = 1 << 13  # pairs in memory at a time
DIGITS = 4  # what the search leaves undecided, and processors round differently, lies below
_POISSON = np.cumsum([np.exp(-1.0) / f for f in (1, 1, 2, 6, 24, 120, 720, 5040, 40320)])


def fit_head(features: Floats, weight: Floats, ridge: float = RIDGE) -> Floats:
    """Return the weights (d,) of a linear reward that ranks chosen above rejected.

    `features` (pairs, d) are those of the chosen answer less those of the rejected one, and
    `weight` (pairs,) says how often each pair counts. Minimises the sum of
    weight * -log sigmoid(features @ w), plus `ridge` times half the squared weights: convex, so
    the result depends on the data alone (Bradley and Terry 1952). By Newton's method, over `BLOCK`
    pairs after the other: `features` may be mapped from a file.
    """
    w = np.zeros(features.shape[1])
    penalty = ridge * np.eye(len(w))
    for _ in range(100):
        gain, curve = np.zeros(len(w)), np.zeros((len(w), len(w)))
        for start in range(0, len(weight), BLOCK):
            n = weight[start : start + BLOCK]
            x, n = features[start : start + BLOCK][n > 0], n[n > 0]
            wrong = np.exp(-np.logaddexp(0.0, x @ w))  # sigmoid(-margin)
            gain += x.T @ (n * wrong)
            curve += (x * (n * wrong * (1.0 - wrong))[:, None]).T @ x
        slope = ridge * w - gain
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
    where there are no features, or no pair in any other fold. Rounded to `DIGITS`.
    """
    pairs, difference = differences(features, chosen, rejected)
    fold_of, key_of = fold[chosen[pairs]], keys[chosen[pairs]]
    weights = {}
    for held in np.unique(fold[usable(features)]).tolist():
        if (fold_of != held).any():
            fits = [blind_head(difference, fold_of, key_of, held, k, ridge) for k in range(heads)]
            weights[held] = np.stack(fits)
    return unseen_rewards(features, fold, weights, heads)


def usable(features: Floats) -> Bools:
    """Return which candidates (n) have features (n, d)."""
    return np.asarray(np.isfinite(features).all(axis=1))


def differences(features: Floats, chosen: Ints, rejected: Ints) -> tuple[Ints, Floats]:
    """Return which pairs (k,) have features on both sides, and what they differ in (k, d).

    `features` (candidates, d), with NaN rows for candidates that have none; `chosen` and
    `rejected` (pairs,) index them.
    """
    known = usable(features)
    pairs = np.flatnonzero(known[chosen] & known[rejected])
    difference = np.asarray(features[chosen[pairs]], dtype=np.float64)
    difference -= features[rejected[pairs]]
    return pairs, difference


def blind_head(
    difference: Floats, fold: Ints, keys: npt.NDArray[np.uint64], held: int, head: int, ridge: float
) -> Floats:
    """Return the weights (d,) of one head that saw no pair of the fold `held`.

    `difference` (pairs, d); `fold` and `keys` (pairs,) are those of the pairs' prompts.
    """
    return fit_head(difference, (fold != held) * bootstrap(keys, head), ridge)


def unseen_rewards(
    features: Floats, fold: Ints, weights: Mapping[int, Floats], heads: int
) -> Floats:
    """Return rewards (candidates, heads) by the weights (heads, d) that are given for their fold.

    NaN without features or weights. Each candidate's do not depend on what others there are.
    """
    known = usable(features)
    rewards = np.full((len(features), heads), np.nan)
    for held, each in weights.items():
        here = np.flatnonzero(known & (fold == held))
        for head, w in enumerate(each):
            rewards[here, head] = np.einsum("ij,j->i", features[here], w)
    return np.asarray(np.round(rewards, DIGITS))


def agreement(rewards: Floats, chosen: Ints, rejected: Ints) -> tuple[int, int]:
    """Return how many pairs (n,) the mean over the heads agrees with, and how many it rates.

    `rewards` (candidates, heads) are NaN where there is none.
    """
    margin = (rewards[chosen] - rewards[rejected]).mean(axis=1)
    return int((margin > 0).sum()), int(np.isfinite(margin).sum())
