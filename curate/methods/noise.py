"""Doubt about labels: free functions that tell likely wrong pairs from likely right ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, places_of
from curate.methods.crowd import row_sums

LN2 = float(np.log(2.0))


class Bands(NamedTuple):
    """Where each pair stands by how strongly several judges prefer its chosen answer.

    `wrong`, `doubtful` and `strong` (pairs,) exclude each other; what is none of them is plain.
    """

    wrong: Bools
    doubtful: Bools
    strong: Bools


def bald(p: npt.ArrayLike) -> Floats:
    """Return (pairs,) how much the judges disagree beyond what each doubts itself, in nats.

    `p` is (pairs, judges), each judge's probability that the chosen answer is better, NaN where
    it says nothing: H(mean p) - mean H(p), in [0, ln 2] (Bayesian active learning by
    disagreement, Houlsby et al. 2011; as in UPO, 2024). NaN where nobody says anything.
    """
    values = np.asarray(p, dtype=np.float64)
    here = ~np.isnan(values)
    n = here.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, alone = row_sums(values) / n, row_sums(_entropy(values)) / n
        return np.asarray(np.maximum(_entropy(mean) - alone, 0.0))


def label_doubt(torn: npt.ArrayLike) -> Floats:
    """Return the chance to give the other label, bald / (2 ln 2): from 0 to even odds.

    `torn` is what `bald` returns, in nats. It is the smoothing that UPO's reasoning asks for; the
    loss weights printed there exceed one half and so trust the turned label more than the label.
    """
    return np.asarray(0.5 * np.asarray(torn, dtype=np.float64) / LN2)


def strength_bands(
    margins: npt.ArrayLike,
    *,
    wrong: float = 0.2,
    doubtful: float = 0.2,
    strong: float = 0.1,
    certain: float = 1.0,
) -> Bands:
    """Sort pairs into bands by their mean margin over judges (Secrets of RLHF II, 2024).

    `margins` is (pairs, judges), chosen less rejected, NaN where absent. Each judge's margins
    are divided by their root mean square first, since units differ, but not centred: the sign
    is the message. By mean margin the bottom share `wrong` is likely mislabelled, the next
    share `doubtful` unclear and the top share `strong` clear.

    The shares are assumptions about a set, not facts about it, so a pair is wrong only if also
    mean < 0 and |mean| > certain * std over its judges (population; one judge has no std and
    convicts nobody); the rest of the bottom is doubtful. Pairs without margins are plain.
    """
    mean, std, n = margin_moments(margins)
    known = np.flatnonzero(n)
    rank = np.empty(len(known))
    rank[np.argsort(mean[known], kind="stable")] = np.arange(len(known))
    position = np.full(len(mean), np.nan)
    position[known] = (rank + 0.5) / max(len(known), 1)
    low = position < wrong
    convicted = low & (mean < 0) & (n > 1) & (np.abs(mean) > certain * std)
    unclear = (position < wrong + doubtful) & ~convicted
    return Bands(convicted, unclear, (position > 1.0 - strong) & ~unclear & ~convicted)


def margin_moments(margins: npt.ArrayLike) -> tuple[Floats, Floats, Ints]:
    """Return (pairs,) mean and population deviation over judges in common units, and how many.

    `margins` (pairs, judges); a judge's unit is the root mean square of its margins.
    """
    values = np.asarray(margins, dtype=np.float64)
    here = ~np.isnan(values)
    n = np.asarray(here.sum(axis=1), dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.sqrt(np.where(here, values**2, 0.0).sum(axis=0) / here.sum(axis=0))
        scaled = np.where(here, values / np.where(unit > 0, unit, 1.0), 0.0)
        mean = scaled.sum(axis=1) / n
        squared = np.where(here, (scaled - mean[:, None]) ** 2, 0.0).sum(axis=1)
        return mean, np.sqrt(squared / n), n


def smoothing_threshold(margins: npt.ArrayLike, share: float = 0.1) -> float:
    """Return the margin below which (strictly) the least certain `share` of the pairs lies.

    Halfway between the order statistics floor(n share) and the next, counted from 0, as SPA
    (Kim et al. 2025) takes it over recent batches; here over the whole set. NaN is left out,
    and the result where nothing is left.
    """
    values = np.sort(np.asarray(margins, dtype=np.float64))
    n = int((~np.isnan(values)).sum())
    if not n:
        return float("nan")
    at = min(int(n * share + 1e-9), n - 1)
    return float(0.5 * (values[at] + values[min(at + 1, n - 1)]))


def agreed(
    all_of: npt.ArrayLike, any_of: npt.ArrayLike | None = None, at_least: float = 0.0
) -> Bools:
    """Return (pairs,) whether all of some judges, and any of others, favour the chosen answer.

    `all_of` and `any_of` are margins (pairs, judges), chosen less rejected. A judge agrees
    where its margin is positive and at least `at_least`; an absent judge (NaN) does not. With a
    trusted judge in `all_of` and an LLM and a reward model in `any_of` it is the rule of
    Skywork-Reward-V2 (Liu et al. 2025); with two probabilities less 1/2 in `all_of` it is
    SCIR's consistency. `any_of` without columns asks for nothing.
    """
    every = np.asarray(all_of, dtype=np.float64)
    some = np.empty((len(every), 0)) if any_of is None else np.asarray(any_of, dtype=np.float64)
    agrees = [(m > 0) & (m >= at_least) for m in (every, some)]
    enough = agrees[1].any(axis=1) if some.shape[1] else True
    return np.asarray(agrees[0].all(axis=1) & enough)


def rank_agreement(counts: Ints, first: Floats, second: Floats) -> Floats:
    """Return (rows,) Kendall's tau-b between two judges' scores of each row's candidates.

    `counts` (rows,) candidates a row; `first` and `second` (candidates,) with NaN where absent.
    Ties count for neither side and shorten the denominator. NaN where a row has fewer than two
    candidates with both scores, or where a judge ties them all.
    """
    usable = np.flatnonzero(~np.isnan(first) & ~np.isnan(second))
    rows = np.repeat(np.arange(len(counts)), counts)[usable]
    size = np.bincount(rows, minlength=len(counts))
    after = np.repeat(np.cumsum(size), size) - np.arange(len(usable)) - 1
    left = np.repeat(np.arange(len(usable)), after)
    right = left + 1 + places_of(after)
    one = np.sign(first[usable][left] - first[usable][right])
    two = np.sign(second[usable][left] - second[usable][right])
    row, n = rows[left], len(counts)
    both, alone, other = (np.bincount(row, w, n) for w in (one * two, one * one, two * two))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(both / np.sqrt(alone * other))


def _entropy(p: Floats) -> Floats:
    """Return the entropy of a coin in nats; 0 at the ends."""
    inside = np.clip(p, 1e-300, 1.0)
    other = np.clip(1.0 - p, 1e-300, 1.0)
    return np.asarray(-(p * np.log(inside) + (1.0 - p) * np.log(other)))
