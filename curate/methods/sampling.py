"""Sampling by a number: answers by their reward, pairs by their weight, rows by a hash."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Column, Floats, Ints, hashes, mix, owners, starts_of


def drawn(texts: Column, share: float) -> Bools:
    """Return (n,) which of the texts are drawn by their own hash: about `share` of them, 0 to 1.

    What is drawn depends on nothing else, so equal texts share their lot and shards do not matter.
    """
    if share >= 1.0:
        return np.ones(len(texts), dtype=bool)
    below = np.uint64(math.ceil(max(share, 0.0) * 2**53))  # 53 bits: what a float tells apart
    return np.asarray(hashes(texts) >> np.uint64(11) < below)


def acceptance(counts: Ints, rewards: Floats, beta: float) -> Floats:
    """Return (candidates,) exp((reward - the row's best) / beta), 0 where the reward is NaN.

    `counts` (rows,) candidates a row; `rewards` (candidates,) in log-odds (Bradley-Terry).
    """
    known = ~np.isnan(rewards)
    row, best = owners(counts), np.full(len(counts), -np.inf)
    np.maximum.at(best, row[known], rewards[known])
    found = np.zeros(len(rewards))
    found[known] = np.exp((rewards[known] - best[row[known]]) / beta)
    return found


def rejection_sample(
    counts: Ints, rewards: Floats, keep: int, beta: float, seeds: npt.NDArray[np.uint64]
) -> Bools:
    """Return (candidates,) which are sampled: `keep` of each row, or all where there are fewer.

    RSO (Liu et al. 2024): in rounds, each answer that is left is accepted with `acceptance`
    over those that are left. A small `beta` takes the best, a large one samples evenly. `seeds`
    (rows,) decide; `counts` and `rewards` as in `acceptance`. NaN is never sampled.
    """
    row = owners(counts)
    start = starts_of(counts)[row]  # of each candidate's row
    # In an order drawn anew: of several engines' answers the first ones have no advantage.
    place = np.arange(len(row)) - start
    order = np.lexsort((mix(seeds[row], place, keep), row))
    left = np.asarray(rewards, dtype=np.float64)[order]
    taken = np.zeros(len(row), dtype=bool)
    for round_ in range(keep):  # each round takes one at least: the best is always accepted
        chance = (mix(seeds[row], place, round_) >> np.uint64(11)) / 2.0**53
        accepted = chance < acceptance(counts, left, beta)
        room = keep - np.bincount(row[taken], minlength=len(counts))
        before: Ints = np.cumsum(accepted) - accepted
        accepted &= before - before[start] < room[row]
        if not accepted.any():
            break
        taken |= accepted
        left[accepted] = np.nan
    found = np.zeros_like(taken)
    found[order] = taken
    return found


def weighted_sample(weights: Floats, keys: npt.NDArray[np.uint64], size: int) -> Bools:
    """Return (n,) which of the n are among `size` drawn without replacement by weight.

    Each gets log(u) / weight with u in (0, 1) from its key, and the largest win (Efraimidis and
    Spirakis 2006); equal ones go by key. A weight of 0, or NaN, is never drawn.
    """
    able = np.flatnonzero(weights > 0)
    u = ((keys[able] >> np.uint64(11)) + 0.5) / 2.0**53
    order = np.lexsort((keys[able], -np.log(u) / weights[able]))
    drawn = np.zeros(len(weights), dtype=bool)
    drawn[able[order[:size]]] = True
    return drawn
