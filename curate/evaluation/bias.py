"""What a judge leans to beside quality: a position, length, its own answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.arrays import Floats
from curate.evaluation.resampling import Resampled
from curate.methods.crowd import Interval
from curate.methods.evidence import Votes
from curate.methods.verdicts import swap_consistent


def lean(judge: Floats, human: Floats, side: Floats, sample: Resampled) -> dict[str, Any]:
    """Return how much more often than humans a judge takes a side that should not matter.

    `side` (n,) is 1 where answer a is on that side, -1 where b is, 0 where neither. Counted are
    the comparisons that have a side and that both the judge and the humans decided; an excess
    over the humans is the judge's own (they may have reason to like longer answers, too).
    """
    both = (np.nan_to_num(judge) != 0) & (np.nan_to_num(human) != 0) & (side != 0)
    by_judge, by_human = np.sign(judge) == side, np.sign(human) == side
    excess = sample.difference(by_judge, both, by_human, both)
    return {
        "comparisons": int(both.sum()),
        "judge": float(by_judge[both].mean()) if both.any() else None,
        "human": float(by_human[both].mean()) if both.any() else None,
        "excess": interval_dict(excess),
        "shown": clear(excess),
    }


def position_bias(vote: Votes, human: Floats, sample: Resampled) -> dict[str, Any]:
    """Return how the order of presentation moves the judge.

    Where it was asked in both orders: how often it contradicts itself, and towards which
    position (MT-Bench, Zheng et al. 2023). Where every comparison has one order only: how much
    more often than the humans it prefers what was shown first.
    """
    both = ~np.isnan(vote.a_first) & ~np.isnan(vote.b_first)
    if both.any():
        pairs = list(zip(vote.a_first[both].tolist(), vote.b_first[both].tolist(), strict=True))
        found = swap_consistent(pairs)
        turn = np.sign(vote.a_first) - np.sign(vote.b_first)
        net = sample.difference(turn > 0, both, turn < 0, both)
        shares = {} if found is None else found._asdict()
        return {
            "orders": "both", "comparisons": int(both.sum()), **shares,
            "excess": interval_dict(net), "shown": clear(net),
        }  # fmt: skip
    side = np.where(~np.isnan(vote.a_first), 1.0, np.where(~np.isnan(vote.b_first), -1.0, 0.0))
    return {"orders": "one", **lean(vote.value, human, side, sample)}


def clear(interval: Interval) -> bool:
    """Whether an interval of a difference leaves out zero."""
    return bool(interval.low > 0 or interval.high < 0)


def interval_dict(interval: Interval) -> dict[str, float | None]:
    """Return {"value", "low", "high"}, null for what is no number."""
    names = ("value", "low", "high")
    return {
        name: float(number) if np.isfinite(number) else None
        for name, number in zip(names, interval, strict=True)
    }
