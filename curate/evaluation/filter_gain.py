"""What a filter buys: accuracy of what it keeps, against how much it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats
from curate.evaluation.bias import interval_dict
from curate.evaluation.resampling import Resampled
from curate.methods.crowd import Interval

POINTS = 10  # thresholds tried on a signal with many values


def curve(
    right: npt.ArrayLike, signal: npt.ArrayLike, sample: Resampled, points: int = POINTS
) -> list[dict[str, Any]]:
    """Return what keeping the items with a high `signal` gives, from the loosest threshold on.

    `right` (n,) says whether each claim is correct; `signal` (n,) is higher for a better one,
    NaN where it says nothing (never kept). Per threshold: items kept, coverage, accuracy, and
    the gain over keeping everything, with intervals. At most `points` thresholds, by quantile.
    """
    correct, value = np.asarray(right, dtype=bool), np.asarray(signal, dtype=np.float64)
    everything = np.ones(len(correct), dtype=bool)
    result = []
    for threshold in thresholds(value, points):
        kept = value >= threshold
        gain = sample.difference(correct, kept, correct, everything)
        result.append(
            {
                "threshold": float(threshold),
                **share(correct, kept, sample),
                "gain": interval_dict(gain),
                "verdict": verdict(gain, int(kept.sum()), "all verdicts"),
            }
        )
    return result


def thresholds(signal: Floats, points: int) -> list[float]:
    """Return ascending thresholds of a signal (n,): all values, or `points` quantiles of many."""
    known = signal[np.isfinite(signal)]
    levels = np.unique(known)
    if len(levels) > points:
        levels = np.unique(np.quantile(known, np.arange(points) / points, method="higher"))
    return [float(level) for level in levels]


def share(right: Bools, kept: Bools, sample: Resampled) -> dict[str, Any]:
    """Return how many items are kept, which share that is, and how many of them are right."""
    return {
        "kept": int(kept.sum()),
        "coverage": float(kept.mean()) if len(kept) else None,
        "accuracy": interval_dict(sample.mean(right, kept)),
    }


def best(score: npt.ArrayLike, count: int) -> Bools:
    """Return a mask (n,) of the `count` items of highest score (n,), of equal ones the earlier.

    NaN is the lowest score: such items are kept only where fewer than `count` have one.
    """
    value = np.nan_to_num(np.asarray(score, dtype=np.float64), nan=-np.inf)
    mask = np.zeros(len(value), dtype=bool)
    mask[np.argsort(-value, kind="stable")[:count]] = True
    return mask


def against(
    right: Bools, kept: Bools, other_right: Bools, score: Floats, sample: Resampled
) -> dict[str, Any]:
    """Compare a filter with keeping equally many items by `score`, and as many as stay as right.

    `right` says whether the filter's claims are correct, `other_right` those of the score. Returns
    the difference in accuracy at equal size with its interval, a sentence that claims no more than
    the interval does, and the largest number of items by score with at least the filter's accuracy.
    """
    size = int(kept.sum())
    mine = best(score, size)
    gain = sample.difference(other_right, mine, right, kept)
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    order = order[: int((~np.isnan(score)).sum())]  # what has no score is never kept
    accuracy = np.cumsum(other_right[order]) / np.arange(1, len(order) + 1)
    reached = np.flatnonzero(accuracy >= right[kept].mean()) if size else np.array([])
    return {
        "kept": size,
        "accuracy": interval_dict(sample.mean(other_right, mine)),
        "gain": interval_dict(gain),
        "verdict": verdict(gain, size, "the filter of the same size"),
        "kept_at_same_accuracy": int(reached[-1]) + 1 if len(reached) else 0,
    }


def verdict(gain: Interval, kept: int, what: str) -> str:
    """Say in one sentence what the interval of a difference in accuracy allows to say."""
    if not kept or not np.isfinite(gain.estimate):
        return "nothing is kept, so there is nothing to compare"
    points, low, high = (100 * v for v in gain)
    span = f"{points:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}"
    if gain.low > 0:
        return f"more accurate than {what}: {span}"
    if gain.high < 0:
        return f"less accurate than {what}: {span}"
    return f"no gain shown over {what}: {span}"


def filters(signals: Mapping[str, Floats], right: Bools, sample: Resampled) -> dict[str, Any]:
    """Return each signal's curve, those with one value or none left out."""
    return {
        name: curve(right, signal, sample)
        for name, signal in signals.items()
        if len(thresholds(signal, POINTS)) > 1
    }
