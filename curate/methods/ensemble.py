"""Several judges' scores of one answer to one number: transforms, scales and pools.

Free functions over arrays. A "cell" is what one judge says of one answer; its key names the
group that a scale looks at (a judge within a prompt, or a judge in the dataset).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats, Ints

Pool: TypeAlias = Literal[
    "mean", "sum", "median", "min", "mean_std", "mean_var", "robust", "closest", "loudest"
]


def pool(
    scores: npt.ArrayLike,
    how: Pool = "mean",
    *,
    caution: float = 0.5,
    weights: npt.ArrayLike | None = None,
    stds: npt.ArrayLike | None = None,
) -> Floats:
    """Return (candidates,) one score from `scores` (judges, candidates), NaN where all are NaN.

    NaN is an absent judge. "mean" and "sum" take `weights` (of the same shape, 0 for absent
    ones); a sum is of the judges there are, so let none be absent. "mean_std" is the mean less
    `caution` population deviations, "mean_var" the mean less `caution` variances (reward model
    ensembles, Coste et al. 2024). "robust" is (1 - caution) nominal + caution min, the nominal
    score being that of the judge whose `stds` (same shape) is least (BRME, reward-robust RLHF;
    there w = 1 - caution); a judge without one is never nominal, and an answer without any
    nominal score gets NaN. "closest" is the mean of the three values that lie closest together.
    "loudest" is the value furthest from 0, and 0 where two are with unlike signs (SALMON, Sun et
    al. 2023).
    Rewards are defined up to a constant a prompt, so "median", "min"
    and what builds on them need judges that were centred first.
    """
    values = np.asarray(scores, dtype=np.float64)
    here = ~np.isnan(values)
    n = here.sum(axis=0)
    filled = np.where(here, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if how in ("mean", "sum"):
            weight = here * 1.0 if weights is None else np.where(here, weights, 0.0)
            total, norm = (weight * filled).sum(axis=0), weight.sum(axis=0)
            return np.where(n > 0, total / (norm if how == "mean" else 1.0), np.nan)
        if how == "median":
            return _median(values, n)
        if how == "closest":
            return pool(closest(values))
        least = np.where(n > 0, np.where(here, values, np.inf).min(axis=0, initial=np.inf), np.nan)
        if how == "min":
            return least
        if how == "loudest":
            most = -np.where(here, -values, np.inf).min(axis=0, initial=np.inf)
            return np.where(most > -least, most, np.where(most < -least, least, least * 0.0))
        if how == "robust":
            return (1.0 - caution) * _nominal(values, stds) + caution * least
        std = deviation(values)
        return np.asarray(filled.sum(axis=0) / n - caution * (std if how == "mean_std" else std**2))


def deviation(scores: Floats) -> Floats:
    """Return (candidates,) the population deviation of `scores` (judges, candidates) over judges.

    NaN is an absent judge, and the result where all are.
    """
    here = ~np.isnan(scores)
    n = here.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.where(here, scores, 0.0).sum(axis=0) / n
        squared = np.where(here, (scores - centre) ** 2, 0.0).sum(axis=0)
        return np.asarray(np.sqrt(squared / n))


def standardise(
    values: Floats, deviations: Floats, key: Ints, within: Ints | None = None
) -> tuple[Floats, Floats]:
    """Return z-scores of the cells within each key, and the deviations in the same unit.

    Population deviation; a group without variance gives 0, and NaN for its deviations. With
    `within` the mean that is taken off is that of the finer groups `within` (a judge's mean
    over one prompt's answers), while the unit stays that of `key` (the judge's deviation of
    what is left, over the dataset).
    """
    groups, of = group(key, int(key.max(initial=-1)) + 1)
    magnitude = np.sqrt(_means(values**2, of, len(groups)))
    centred = centre(values, key if within is None else within)
    std = np.sqrt(_means(centred**2, of, len(groups)))
    # Equal scores can leave rounding behind: without this their z-scores would be +-1.
    flat = (std <= 1e-12 * magnitude)[of]
    divisor = np.where(flat, 1.0, std[of])
    return np.where(flat, 0.0, centred / divisor), np.where(flat, np.nan, deviations / divisor)


def divided(
    values: Floats, deviations: Floats, key: Ints, by: Literal["deviation", "variance"]
) -> tuple[Floats, Floats]:
    """Return the cells (n,) over their key's population deviation, or its square, and not centred.

    0 stays 0: the sign of a comparison is kept. A group without variance gives 0, and NaN for
    its deviations. Over the variance, as SALMON's code divides, groups that vary little count
    most; deviations treat all alike.
    """
    groups, of = group(key, int(key.max(initial=-1)) + 1)
    variance = _means(centre(values, key) ** 2, of, len(groups))
    unit = (variance if by == "variance" else np.sqrt(variance))[of]
    flat = unit <= 0.0
    divisor = np.where(flat, 1.0, unit)
    return np.where(flat, 0.0, values / divisor), np.where(flat, np.nan, deviations / divisor)


def centre(values: Floats, key: Ints) -> Floats:
    """Return the cells (n,) less the mean of their group, which `key` (n,) numbers."""
    groups, of = group(key, int(key.max(initial=-1)) + 1)
    return values - _means(values, of, len(groups))[of]


def log_odds(p: Floats, deviations: Floats) -> tuple[Floats, Floats]:
    """Return log(p / (1 - p)) and the deviations carried over by the slope.

    p is held 1e-6 away from 0 and 1, where the logarithm ends. Raises ValueError for a value
    that is no probability.
    """
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError("log-odds need scores between 0 and 1")
    inside = np.clip(p, 1e-6, 1.0 - 1e-6)
    return np.log(inside / (1.0 - inside)), deviations / (inside * (1.0 - inside))


def log_sigmoid(
    values: Floats, deviations: Floats, key: Ints, quantile: float = 0.85
) -> tuple[Floats, Floats]:
    """Return log s(r - reference) of each cell, and the deviations carried over by the slope.

    The reference is the Gaussian `quantile` of the cell's group: mean + z std over the prompt's
    answers (population deviation). Sums over properties are then the log-probability that an
    answer is good in all of them (LSC, Wang et al. 2024). Only for rewards in log-odds (those
    of Bradley-Terry models), not for marks from 1 to 10.
    """
    groups, of = group(key, int(key.max(initial=-1)) + 1)
    mean = _means(values, of, len(groups))
    std = np.sqrt(_means((values - mean[of]) ** 2, of, len(groups)))
    z = values - (mean + NormalDist().inv_cdf(quantile) * std)[of]
    log_p = -np.logaddexp(0.0, -z)
    return log_p, deviations * -np.expm1(log_p)


def vote_score(votes: npt.ArrayLike) -> Floats:
    """Return round(log2(1 + votes)), and -1 where there are fewer than none.

    The score of a forum's answers (Askell et al. 2021), to which one is added for the accepted
    answer: the step from 1 vote to 3 counts like that from 100 to 200.
    """
    values = np.asarray(votes, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(values < 0, -1.0, np.round(np.log2(1.0 + np.maximum(values, 0.0))))


def closest(scores: npt.ArrayLike, most: int = 3) -> Floats:
    """Return `scores` (judges, candidates) with only the `most` values that lie closest together.

    The others of a candidate become NaN. Of several such sets the one whose mean is nearest to
    the median of all values is taken, then the one whose mean is nearest to 0; where two are left,
    one on each side of 0, the values of both stay. So values of the other sign give the other
    sign, whichever of two answers stood first. (HelpSteer2-Preference, Wang et al. 2024, keeps the
    three most similar of up to five annotations and leaves open which, where there are several.)
    """
    values = np.asarray(scores, dtype=np.float64)
    judges = values.shape[0]
    if judges <= most:
        return values
    order = np.argsort(values, axis=0, kind="stable")  # NaN comes last
    ranked = np.take_along_axis(values, order, axis=0)
    first, last = _closest_windows(ranked, most)
    place = np.arange(judges)[:, None]
    inside = (place >= first) & (place < first + most) | (place >= last) & (place < last + most)
    result = np.full(values.shape, np.nan)
    np.put_along_axis(result, order, np.where(inside, ranked, np.nan), axis=0)
    return result


def _closest_windows(ranked: Floats, most: int) -> tuple[Ints, Ints]:
    """Return where the lowest and the highest of a column's best windows begin, (candidates,).

    `ranked` (judges, candidates) ascends, NaN last. They differ only where the choice between
    two opposite means is open.
    """
    count = (~np.isnan(ranked)).sum(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(ranked, most, axis=0)
    mean = windows.mean(axis=-1)
    tied = np.ones(mean.shape, dtype=bool)
    for cost in (windows[..., -1] - windows[..., 0], abs(mean - _median(ranked, count)), abs(mean)):
        known = np.where(np.isnan(cost) | ~tied, np.inf, np.round(cost, 9))
        tied &= known == known.min(axis=0)
    first = tied.argmax(axis=0)
    last = len(tied) - 1 - tied[::-1].argmax(axis=0)
    column = np.arange(ranked.shape[1])
    opposite = np.round(mean[last, column] - mean[first, column], 9) > 0
    return first, np.where(opposite, last, first)


def group(key: Ints, size: int) -> tuple[Ints, Ints]:
    """Return the sorted distinct keys (all in [0, size)) and each key's place among them."""
    if size > 8 * len(key) + 1024:  # sparse: sorting is cheaper than a table over all keys
        distinct, places = np.unique(key, return_inverse=True)
        return distinct, places.reshape(-1)
    present = np.zeros(size, dtype=bool)
    present[key] = True
    if present.all():
        return np.arange(size), key
    return np.flatnonzero(present), (np.cumsum(present) - 1)[key]


def _means(values: Floats, of: Ints, groups: int) -> Floats:
    size = np.bincount(of, minlength=groups)
    return np.asarray(np.bincount(of, values, groups) / size)


def _median(values: Floats, n: Ints) -> Floats:
    if not values.shape[0]:
        return np.full(values.shape[1], np.nan)
    ordered = np.sort(values, axis=0)  # NaN comes last
    low, high = np.maximum(n - 1, 0) // 2, np.minimum(n // 2, values.shape[0] - 1)
    column = np.arange(values.shape[1])
    return np.asarray(0.5 * (ordered[low, column] + ordered[high, column]))


def _nominal(values: Floats, stds: npt.ArrayLike | None) -> Floats:
    if stds is None:
        raise ValueError('pool "robust" needs each score\'s standard deviation')
    if not values.shape[0]:
        return np.full(values.shape[1], np.nan)
    spread = np.where(np.isnan(values), np.nan, np.asarray(stds, dtype=np.float64))
    spread = np.where(np.isnan(spread), np.inf, spread)
    surest = spread.argmin(axis=0)
    column = np.arange(values.shape[1])
    known = np.isfinite(spread[surest, column])
    return np.where(known, values[surest, column], np.nan)
