"""Which of a judge's verdicts to keep: by agreement, margin, order, spread, or p_correct."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.arrays import Floats
from curate.evaluation.bias import interval_dict
from curate.evaluation.filter_gain import against, filters, share, verdict
from curate.evaluation.labelled import Labelled
from curate.evaluation.probabilities import MIN_LABELS, outcome_calibration
from curate.evaluation.resampling import Resampled
from curate.stages.calibrate import label_probabilities


def filter_report(
    known: Labelled, judges: list[str], folds: int, seed: int, resamples: int
) -> dict[str, Any]:
    """Return what is kept of the first judge's verdicts under each filter, and how right it is.

    A verdict is right where it names the humans' majority; an unreadable one counts as wrong, a
    tie is no verdict. p_correct comes from cross-fitting over prompts, and is compared with each
    filter at the filter's own size: on the judge's verdicts, and on verdicts of its own.
    """
    sign = np.sign(known.voters[judges[0]].value)
    claims = known.voters[judges[0]].asked & (sign != 0)
    right = sign == known.human
    everything = np.ones(int(claims.sum()), dtype=bool)
    sample = Resampled(known.prompts[claims], seed, resamples)
    signals = {name: signal[claims] for name, signal in _signals(known, judges).items()}
    report: dict[str, Any] = {
        "judge": judges[0],
        "all": share(right[claims], everything, sample),
        "filters": filters(signals, right[claims], sample),
        "order_consistency": _both_orders(known, judges[0]),
        "p_correct": None,
    }
    if len(known.human) < MIN_LABELS or len(set(known.prompts.tolist())) < 2:
        return report
    found = label_probabilities(
        known.table, known.pairs, known.voters, known.human, folds=folds, seed=seed
    )
    picked = np.where(sign > 0, found.a, np.where(sign < 0, found.b, np.nan))
    report["p_correct"] = {
        "calibration": outcome_calibration(known, found, right, picked),
        "curve": filters({"": picked[claims]}, right[claims], sample).get("", []),
    }
    better = np.maximum(found.a, found.b)
    own = np.where(found.a >= found.b, 1.0, -1.0) == known.human
    for name, steps in report["filters"].items():
        for step in steps:
            kept = np.zeros(len(claims), dtype=bool)
            kept[np.flatnonzero(claims)] = signals[name] >= step["threshold"]
            if step["kept"] < len(everything):
                step["p_correct"] = against(right, kept, right, picked, known.sample)
                step["p_correct_own_verdict"] = against(right, kept, own, better, known.sample)
    return report


def _both_orders(known: Labelled, judge: str) -> dict[str, Any] | None:
    """Compare the verdicts of one order, drawn by a hash, with those that hold in both orders.

    A judge that contradicts itself has no verdict above (its mean is a tie), so what asking twice
    buys can only be seen against asking once. None where no comparison has both orders.
    """
    vote = known.voters[judge]
    both = ~np.isnan(vote.a_first) & ~np.isnan(vote.b_first)
    if not both.any():
        return None
    one = np.sign(np.where(known.turned, vote.b_first, vote.a_first))
    decided = both & (one != 0)
    steady = decided & (np.sign(vote.a_first) == np.sign(vote.b_first))
    right = one == known.human
    gain = known.sample.difference(right, steady, right, decided)
    every = share(right, decided, known.sample)
    consistent = share(right, steady, known.sample)
    consistent["coverage"] = float(steady.sum() / decided.sum()) if decided.any() else None
    return {
        "one_order": every | {"coverage": 1.0},
        "consistent": consistent,
        "gain": interval_dict(gain),
        "verdict": verdict(gain, int(steady.sum()), "one order"),
    }


def _signals(known: Labelled, judges: list[str]) -> dict[str, Floats]:
    """Return, per filter, a number that is higher for a verdict to be trusted more."""
    first = known.voters[judges[0]]
    sign = np.sign(first.value)
    others = [np.sign(known.voters[name].value) == sign for name in judges[1:]]
    agreeing = np.sum(others, axis=0, dtype=np.float64) if others else np.zeros(len(sign))
    return {
        "agreement": np.asarray(agreeing),
        "margin": np.abs(first.value),
        "spread": -first.spread,
    }
