"""Many noisy votes to one probability: free functions over arrays, without a stage.

A vote on a pair says which of two answers is better: +1 the first (of a curated pair: the
chosen one), -1 the second, 0 a tie, in between where a judge's own calls disagree, NaN no vote.
Which answer comes first is arbitrary, so nothing here treats the two sides differently.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats

HIGHEST = 0.99
"""No judge counts as more accurate than this."""
STEPS, SETTLED = 100, 1e-5
"""Most steps of a fit, and the change below which it has settled."""
SEED, RESAMPLES, LEVEL = 0, 400, 0.9
"""Of the bootstrap in `flip_rate`."""


class Crowd(NamedTuple):
    """What `dawid_skene` finds."""

    p_correct: Floats
    """(pairs,) probability that the first answer is the better one; 0.5 without a vote."""
    accuracy: Floats
    """(judges,) probability that the judge is right where it decides, at least 0.5."""
    iterations: int


class Interval(NamedTuple):
    """An estimate and its percentile bootstrap interval."""

    estimate: float
    low: float
    high: float


def dawid_skene(
    votes: npt.ArrayLike,
    *,
    prior_accuracy: float = 0.7,
    prior_votes: float = 10.0,
) -> Crowd:
    """Return how likely each pair's first answer is better, and how accurate each judge is.

    `votes` is (pairs, judges), in [-1, 1] as above. Expectation-maximisation after Dawid and
    Skene (1979) in the form that swapping the two answers leaves unchanged: one accuracy a
    judge, even odds beforehand, ties without weight. A vote v of a judge with accuracy c adds
    v log(c / (1 - c)) to the log-odds, so a judge has one vote a pair however often it was asked.

    `prior_votes` imagined votes of accuracy `prior_accuracy` (below 1) hold each judge back: one
    judge alone keeps its prior, since agreement is all there is to learn from. Accuracies are
    held in [0.5, 0.99]: a judge that is worse than chance is ignored, never reversed. Judges
    that err together (one family, one prompt) are counted as if they erred apart, which makes
    p too extreme. Stops when no accuracy moves by 1e-5, or after 100 steps. Raises ValueError for
    votes out of range or a wrong shape.
    """
    cast = _votes(votes)
    accuracy = np.full(cast.shape[1], min(max(prior_accuracy, 0.5), HIGHEST))
    shared, times = _patterns(cast[(cast != 0).sum(axis=1) > 1])  # a lone vote teaches nothing
    decided = times @ np.abs(shared)
    done = 0
    for done in range(1, STEPS + 1):  # noqa: B007 - told to the caller
        right = 0.5 * (decided + (times * _lean(shared, accuracy)) @ shared)
        updated = (prior_votes * prior_accuracy + right) / np.maximum(prior_votes + decided, 1e-12)
        updated = np.where(prior_votes + decided > 0, np.clip(updated, 0.5, HIGHEST), accuracy)
        moved = float(np.abs(updated - accuracy).max(initial=0.0))
        accuracy = updated
        if moved < SETTLED:
            break
    return Crowd(0.5 + 0.5 * _lean(cast, accuracy), accuracy, done)


def posterior(votes: npt.ArrayLike, accuracy: npt.ArrayLike) -> Floats:
    """Return (pairs,) the probability of the first answer for judges of known accuracy.

    `votes` as in `dawid_skene`, `accuracy` (judges,) strictly between 0 and 1.
    """
    return 0.5 + 0.5 * _lean(_votes(votes), np.asarray(accuracy, dtype=np.float64))


def vote_share(votes: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return (pairs,) the jury's share for the first answer, and how many judges voted.

    Every judge weighs the same and a tie is half a vote (panel of judges, Verga et al. 2024). The
    share is (wins + 0.5) / (n + 1), which is never 0 or 1 and 0.5 without votes, so that its
    log-odds are finite.
    """
    cast = np.asarray(votes, dtype=np.float64)
    n = np.asarray((~np.isnan(cast)).sum(axis=1), dtype=np.int64)
    wins = 0.5 * (n + row_sums(_votes(votes)))
    return (wins + 0.5) / (n + 1), n


def label_posterior(margin: npt.ArrayLike, share: float) -> Floats:
    """Return how likely each label is right, of labels of which `share` are.

    `margin` (pairs,) is a model's log-odds that the label is right (NaN: unknown, gets the
    share itself). With the share e it is e s(h) / (e s(h) + (1 - e) s(-h)), s the logistic
    function (LCPO's expectation step).
    """
    h = np.asarray(margin, dtype=np.float64)
    return logistic(np.where(np.isnan(h), 0.0, h) + np.log(share / (1.0 - share)))


def label_reliability(margin: npt.ArrayLike, reliability: float = 0.8) -> tuple[Floats, float]:
    """Return how likely each label (n,) is right, and the share that are, from a first guess.

    The share becomes the mean of `label_posterior` until it settles. The margins must be
    calibrated and must not come from a model fitted to these same labels, or it runs to 1. It
    stays in [0.5, 0.9999]: at 1 no margin could ever count against a label.
    """
    share = reliability
    for _ in range(STEPS if np.size(margin) else 0):
        updated = float(label_posterior(margin, share).mean())
        moved, share = abs(updated - share), min(max(updated, 0.5), 0.9999)
        if moved < 1e-7:
            break
    return label_posterior(margin, share), share


def flip_rate(p_correct: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Interval:
    """Return the expected share of wrong labels, with a bootstrap interval of 90 percent.

    The estimate is the mean of 1 - p_correct over the pairs with one (NaN is left out): the
    flip rate that robust DPO asks for (Chowdhury et al. 2024). It is as good as p_correct is
    calibrated. `groups` (pairs,) names each pair's prompt: prompts are drawn, not pairs, since
    the pairs of a prompt go wrong together. Raises ValueError where no pair has a p_correct.
    """
    wrong = 1.0 - np.asarray(p_correct, dtype=np.float64)
    known = ~np.isnan(wrong)
    if not known.any():
        raise ValueError("no pair has a p_correct")
    wrong = wrong[known]
    names = np.arange(len(wrong)) if groups is None else np.asarray(groups)[known]
    _, of = np.unique(names, return_inverse=True)
    total, size = np.bincount(of.reshape(-1), wrong), np.bincount(of.reshape(-1))
    draws = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn = draws.integers(len(size), size=len(size))
        means[k] = total[drawn].sum() / size[drawn].sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(wrong.mean()), float(low), float(high))


def row_sums(values: Floats) -> Floats:
    """Return the sum of each row of (pairs, judges), 0 for NaN, added in the judges' order.

    NumPy's own order depends on the number of columns, and with it the last bit; here a judge
    that is absent from a shard leaves no trace.
    """
    total = np.zeros(values.shape[0])
    for column in values.T:
        total += np.where(np.isnan(column), 0.0, column)
    return total


def logistic(x: npt.ArrayLike) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, dtype=np.float64)))


def _votes(votes: npt.ArrayLike) -> Floats:
    """Return the votes with 0 for NaN: an absent vote weighs nothing, like a tie."""
    cast = np.nan_to_num(np.asarray(votes, dtype=np.float64), nan=0.0)
    if cast.ndim != 2 or (cast.size and np.abs(cast).max() > 1.0):
        raise ValueError(f"votes must be (pairs, judges) within [-1, 1], not {cast.shape}")
    return cast


def _patterns(votes: Floats) -> tuple[Floats, Floats]:
    """Return the distinct rows and how often each occurs, where votes are whole or half.

    A few judges have few patterns, and the iterations then cost nothing. Other rows come back
    as they are.
    """
    digits = np.rint(2.0 * votes)
    if not len(votes) or 5 ** votes.shape[1] >= 2**62 or not (digits == 2.0 * votes).all():
        return votes, np.ones(len(votes))
    powers = 5 ** np.arange(votes.shape[1], dtype=np.int64)
    code = (digits.astype(np.int64) + 2) @ powers
    if 5 ** votes.shape[1] <= 1 << 20:  # counting is faster than sorting
        times = np.bincount(code)
        found = np.flatnonzero(times)
        times = times[found]
    else:
        found, times = np.unique(code, return_counts=True)
    return (found[:, None] // powers % 5 - 2) / 2.0, times.astype(np.float64)


def _lean(votes: Floats, accuracy: Floats) -> Floats:
    """Return P(first better) - P(second better), each pair."""
    return np.asarray(np.tanh(0.5 * (votes @ np.log(accuracy / (1.0 - accuracy)))))
