"""Intervals by resampling prompts: comparisons of one prompt are not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats
from curate.methods.crowd import Interval

Totals: TypeAlias = Mapping[str, Floats]

LEVEL = 0.95
RESAMPLES = 1000


class Resampled:
    """Bootstrap of anything that is a function of sums over items, drawing whole groups.

    `groups` (n,) names each item's group. Every statistic sees the same draws, so the interval
    of a difference is that of paired values. Deterministic by `seed`.
    """

    def __init__(self, groups: npt.ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> None:
        names = np.asarray(groups)
        codes = np.unique(names, return_inverse=True)[1] if len(names) else names.astype(int)
        self._of = codes.reshape(-1)
        self._size = int(self._of.max(initial=-1)) + 1
        self._seed, self._resamples = seed, resamples

    def interval(self, statistic: Callable[[Totals], Any], /, **sums: npt.ArrayLike) -> Interval:
        """Return the statistic of the items' sums, with its 95% percentile interval.

        `statistic` gets {name: sum} of scalars, then of arrays (resamples,), and must work on
        both. NaN where there is nothing to divide by.
        """
        arrays = {k: np.asarray(v, dtype=np.float64) for k, v in sums.items()}
        columns = [np.bincount(self._of, v, self._size) for v in arrays.values()]
        by_group = np.stack(columns, axis=1)
        draws = np.random.default_rng(self._seed)
        drawn = np.empty((self._resamples, len(arrays)))
        for k in range(self._resamples):
            picks = draws.integers(max(self._size, 1), size=self._size)
            drawn[k] = np.bincount(picks, minlength=self._size) @ by_group
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = by_group.sum(axis=0)
            estimate = statistic(dict(zip(arrays, whole, strict=True)))
            values = np.asarray(statistic(dict(zip(arrays, drawn.T, strict=True))))
        values = values[np.isfinite(values)]
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (np.nan, np.nan)
        return Interval(float(estimate), float(low), float(high))

    def mean(self, value: npt.ArrayLike, where: npt.ArrayLike) -> Interval:
        """Return the mean of `value` over the items where `where` is true."""
        here = np.asarray(where, dtype=np.float64)
        return self.interval(lambda t: t["v"] / t["n"], v=np.asarray(value) * here, n=here)

    def difference(
        self,
        one: npt.ArrayLike,
        where_one: npt.ArrayLike,
        two: npt.ArrayLike,
        where_two: npt.ArrayLike,
    ) -> Interval:
        """Return mean(one where where_one) - mean(two where where_two), on the same draws."""
        first, second = (np.asarray(w, dtype=np.float64) for w in (where_one, where_two))
        return self.interval(
            lambda t: t["v1"] / t["n1"] - t["v2"] / t["n2"],
            v1=np.asarray(one) * first,
            n1=first,
            v2=np.asarray(two) * second,
            n2=second,
        )
