"""How likely people are to prefer the first of two answers, the second, or neither.

A linear model over the evidence about a comparison of answers a and b. Evidence that favours one
side (a judge's score, a difference in length) changes its sign when a and b trade places and
moves the preference; evidence that favours neither (two judges disagree, the texts are nearly
the same) keeps its sign and moves the chance of a tie. So the prediction itself is symmetric:
swapping a and b swaps P(a) and P(b), and no order of presentation can leak into it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from curate.arrays import Floats, Ints

RIDGE = 10.0  # holds a weight at 0 about as firmly as ten comparisons could


class Outcomes(NamedTuple):
    """Probabilities (n,) that a is preferred, that b is, and that neither is; they add to 1."""

    a: Floats
    b: Floats
    tie: Floats


class OutcomeModel(NamedTuple):
    """Weights of the evidence that takes a side, and of the evidence that takes none."""

    sided: Floats
    even: Floats

    def predict(self, sided: Floats, even: Floats) -> Outcomes:
        """Return the outcomes of n comparisons from `sided` (n, k) and `even` (n, m)."""
        lean, tie = sided @ self.sided, even @ self.even
        top = np.maximum(np.abs(lean), tie)
        a, b, t = np.exp(lean - top), np.exp(-lean - top), np.exp(tie - top)
        total = a + b + t
        return Outcomes(a / total, b / total, t / total)


def fit_outcomes(sided: Floats, even: Floats, label: Floats, ridge: float = RIDGE) -> OutcomeModel:
    """Fit by Newton's method, minimising log-loss plus `ridge` times half the squared weights.

    `sided` (n, k) changes sign with the order of the answers, `even` (n, m) does not (give it a
    column of ones); `label` (n,) is 1 where a is preferred, -1 where b is, 0 for a tie.
    P(a), P(b), P(tie) are proportional to exp(u), exp(-u), exp(t) with u and t linear: the
    ties of Davidson (1970) with covariates. Convex, so the result depends on the data alone.
    """
    k = sided.shape[1]
    weights = np.zeros(k + even.shape[1])
    penalty = ridge * np.eye(len(weights))
    for _ in range(100):
        p = OutcomeModel(weights[:k], weights[k:]).predict(sided, even)
        lean = p.a - p.b
        slope = np.concatenate([sided.T @ (lean - label), even.T @ (p.tie - (label == 0))])
        cross = (sided * (-lean * p.tie)[:, None]).T @ even
        curve = np.block(
            [
                [(sided * (p.a + p.b - lean**2)[:, None]).T @ sided, cross],
                [cross.T, (even * (p.tie * (1 - p.tie))[:, None]).T @ even],
            ]
        )
        step = np.linalg.solve(curve + penalty, slope + ridge * weights)
        weights = weights - step / max(1.0, float(np.abs(step).max()) / 2)  # no wild first step
        if np.abs(step).max() < 1e-9:
            break
    return OutcomeModel(weights[:k], weights[k:])


def folds_of(groups: npt.ArrayLike, folds: int, seed: int = 0) -> Ints:
    """Return each item's fold in [0, folds): items of one group share it, whatever their order.

    `groups` (n,) are texts. The groups are dealt out in the order of a seeded hash, so the folds
    hold about equally many groups and depend on no position.
    """
    names = np.asarray(groups, dtype=object).tolist()
    digest = {name: xxhash.xxh3_64_intdigest(str(name).encode(), seed) for name in set(names)}
    return folds_by_hash(np.array([digest[name] for name in names], dtype=np.uint64), folds)


def folds_by_hash(hashes: npt.NDArray[np.uint64], folds: int) -> Ints:
    """Return the same from the hashes (n,) of the groups' texts, as `arrays.hashes` makes them."""
    return np.asarray(np.unique(hashes, return_inverse=True)[1] % folds, dtype=np.int64)


def cross_fitted(
    sided: Floats, even: Floats, label: Floats, fold: Ints, ridge: float = RIDGE
) -> Outcomes:
    """Return outcomes (n,) in which no comparison's own label, nor its fold's, had a part.

    `sided` (n, k), `even` (n, m) and `label` (n,) as in `fit_outcomes`, with NaN for an unknown
    label: such comparisons are predicted from all labels, each labelled one from those of the
    other folds, by `fold` (n,). NaN where no other fold has a label.
    """
    known = ~np.isnan(label)
    result = np.full((3, len(label)), np.nan)
    for held in [*np.unique(fold[known]).tolist(), None]:
        test = ~known if held is None else known & (fold == held)
        train = known if held is None else known & (fold != held)
        if not test.any() or not train.any():
            continue
        model = fit_outcomes(sided[train], even[train], label[train], ridge)
        result[:, test] = model.predict(sided[test], even[test])
    return Outcomes(*result)
