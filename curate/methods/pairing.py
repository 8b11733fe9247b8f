"""Which of a prompt's scored answers make pairs: arrays of scores to arrays of indexes."""

from __future__ import annotations

import numpy as np

from curate.arrays import Floats, Ints, owners, places_of, starts_of

TOLERANCE = 1e-5
"""Share of a threshold within which a margin counts as equal to it. Scores are float32 means:
4.3333335 - 3.3333333 must not be more than 1, nor 3.6666667 - 2.6666667 less."""

BLOCK = 1 << 17
"""Score differences that are looked at together: few enough to stay in a core's cache."""


def best_worst(counts: Ints, scores: Floats) -> tuple[Ints, Ints]:
    """Return each row's best and worst candidate (local indexes), -1 where all scores are equal.

    `counts` (rows,) candidates a row; `scores` (candidates,) with NaN for those that must not be
    used. Strict: a row with fewer than two scores, or with equal ones, gives -1. Among equal
    bests, and among equal worsts, the lowest index wins. This is the max-min pairing of the
    RLHF Workflow (Dong et al., 2024).
    """
    table = _table(counts, scores)
    if table is None:
        return _ragged_best_worst(counts, scores)
    rows = len(counts)
    best, worst = np.full(rows, -1, dtype=np.int64), np.full(rows, -1, dtype=np.int64)
    high, low = np.full(rows, -np.inf), np.full(rows, np.inf)
    for place, column in enumerate(np.ascontiguousarray(table.T)):
        above, under = column > high, column < low  # false for NaN
        high, low = np.where(above, column, high), np.where(under, column, low)
        best[above], worst[under] = place, place
    equal = ~(high > low)
    best[equal] = worst[equal] = -1
    return best, worst


def _table(counts: Ints, scores: Floats) -> Floats | None:
    """Return the scores as (rows, most), padded with NaN; None where that is mostly padding."""
    width = int(counts.max(initial=0))
    if len(counts) * width == len(scores):
        return scores.reshape(len(counts), width)
    if len(counts) * width > 2 * len(scores) + 1024:
        return None
    table = np.full((len(counts), width), np.nan)
    table[np.arange(width) < counts[:, None]] = scores
    return table


def _ragged_best_worst(counts: Ints, scores: Floats) -> tuple[Ints, Ints]:
    """Do `best_worst` in the memory of the scores that there are, whatever the rows' lengths."""
    best = np.full(len(counts), -1, dtype=np.int64)
    worst = best.copy()
    filled = np.flatnonzero(counts)
    starts = starts_of(counts)[filled]
    local = np.arange(len(scores)) - np.repeat(starts, counts[filled])
    absent = np.isnan(scores)
    high = np.maximum.reduceat(np.where(absent, -np.inf, scores), starts)
    low = np.minimum.reduceat(np.where(absent, np.inf, scores), starts)
    beyond = len(scores)
    for out, extreme in ((best, high), (worst, low)):
        at = np.where(scores == np.repeat(extreme, counts[filled]), local, beyond)
        out[filled] = np.where(high > low, np.minimum.reduceat(at, starts), -1)
    return best, worst


def all_pairs(counts: Ints, scores: Floats, at_least: float = 0.0) -> tuple[Ints, Ints, Ints]:
    """Return (row, chosen, rejected) of every pair whose score gap is above `at_least`.

    Arguments as in `best_worst`; the indexes are local to the row, in order of row, chosen,
    rejected. The gap is strict, as in COIG-P (2025): a gap equal to the threshold is dropped.
    """
    limit = at_least + TOLERANCE * abs(at_least)
    width = int(counts.max(initial=0))
    table = _table(counts, scores)
    if table is None or len(counts) * width**2 > 2 * int((counts**2).sum()) + 1024:
        return _ragged_pairs(counts, scores, limit)
    step = max(BLOCK // max(width**2, 1), 1)
    found = [
        np.flatnonzero(part[:, :, None] - part[:, None, :] > limit) + start * width**2
        for start in range(0, len(counts), step)
        for part in (table[start : start + step],)
    ]
    place = np.concatenate([*found, np.empty(0, dtype=np.int64)])
    row, inside = place // max(width**2, 1), place % max(width**2, 1)
    return row, inside // max(width, 1), inside % max(width, 1)


def _ragged_pairs(counts: Ints, scores: Floats, limit: float) -> tuple[Ints, Ints, Ints]:
    """Do `all_pairs` in the memory of the pairs that there are, whatever the rows' lengths."""
    rows = owners(counts)
    usable = np.flatnonzero(~np.isnan(scores))
    row, value = rows[usable], scores[usable]
    local = usable - starts_of(counts)[row]
    size = np.bincount(row, minlength=len(counts))
    starts = starts_of(size)
    fan = size[row]  # each usable candidate meets every usable candidate of its row
    left = np.repeat(np.arange(len(usable)), fan)
    right = np.arange(len(left)) - np.repeat(starts_of(fan) - starts[row], fan)
    keep = np.flatnonzero(value[left] - value[right] > limit)
    left, right = left[keep], right[keep]
    return row[left], local[left], local[right]


def ranks(counts: Ints, scores: Floats) -> Ints:
    """Return each candidate's rank in its row: 0 for the best, equal scores the same rank.

    Arguments as in `best_worst`. Ranks are dense (the next lower score is one further), and -1
    where there is no score.
    """
    rank = np.full(len(scores), -1, dtype=np.int64)
    usable = np.flatnonzero(~np.isnan(scores))
    row = owners(counts)[usable]
    order = np.lexsort((-scores[usable], row))
    value, group = scores[usable][order], row[order]
    new_row = np.diff(group, prepend=-1) != 0
    step = ((np.diff(value, prepend=np.nan) != 0) & ~new_row).cumsum()
    at_row = np.flatnonzero(new_row)
    rank[usable[order]] = step - np.repeat(step[at_row], np.diff(at_row, append=len(step)))
    return rank


def largest(row: Ints, margin: Floats, most: int) -> Ints:
    """Return the places of each row's `most` pairs of largest margin, in ascending order.

    `row` (pairs,) is sorted; between equal margins the earlier pair wins.
    """
    order = np.lexsort((-margin, row))  # stable: equal margins keep their order
    size = np.bincount(row)
    rank = places_of(size)
    return np.asarray(np.sort(order[rank < most]), dtype=np.int64)
