"""How far margins and p_correct can be taken at their word, on prompts they were not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats
from curate.evaluation.calibration import brier, calibration_error, chance_error, temperature
from curate.evaluation.labelled import Labelled
from curate.methods.crowd import logistic
from curate.methods.evidence import Votes
from curate.methods.outcomes import Outcomes, folds_of

MIN_LABELS = 100  # below this nothing is fitted


def errors(p: npt.ArrayLike, right: npt.ArrayLike) -> dict[str, Any]:
    """Return the calibration errors of probabilities (n,), None where there are none.

    `right` (n,) is 1 where what each is the probability of came true, else 0.
    """
    probability, outcome = np.asarray(p, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(probability):
        return {"comparisons": 0, "ece": None, "ece_by_chance": None, "brier": None}
    return {
        "comparisons": len(probability),
        "ece": calibration_error(probability, outcome),
        "ece_by_chance": chance_error(probability),
        "brier": brier(probability, outcome),
    }


def margin_calibration(known: Labelled, vote: Votes) -> dict[str, Any]:
    """Return T of logistic(margin / T), and the errors of T fitted on the other half of prompts.

    Of comparisons that both the judge and the humans decided, each in a random orientation.
    """
    both = (np.nan_to_num(vote.value) != 0) & (known.human != 0)
    margin, right = vote.value[both], (known.human[both] > 0).astype(np.float64)
    half = folds_of(known.prompts[both], 2)
    if len(margin) < MIN_LABELS or len(np.unique(half)) < 2:
        return {"temperature": None, **errors([], [])}
    turned = known.turned[both]
    margin, right = np.where(turned, -margin, margin), np.where(turned, 1 - right, right)
    p = np.empty(len(margin))
    for held in (0, 1):
        train = half != held
        p[~train] = logistic(margin[~train] / temperature(margin[train], right[train]))
    return {"temperature": temperature(margin, right), **errors(p, right)}


def outcome_calibration(
    known: Labelled, found: Outcomes, right: Bools, picked: Floats
) -> dict[str, Any]:
    """Return the errors of cross-fitted outcomes: of the verdicts, and in random orientation.

    `picked` (n,) is the probability that the judge's verdict is right, NaN where it has none, and
    `right` whether it is.
    """
    has = ~np.isnan(picked)
    p = np.where(known.turned, found.b, found.a)
    outcome = known.human == np.where(known.turned, -1.0, 1.0)
    return {"verdicts": errors(picked[has], right[has]), "random_orientation": errors(p, outcome)}
