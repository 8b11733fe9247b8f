"""Margins to weights: how much each pair counts in training."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import Floats
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import edited, read_pairs, set_floats


def saturating(margin: npt.ArrayLike, gain: float = 0.5, rate: float = 0.5) -> Floats:
    """Return 1 + gain (1 - exp(-rate margin)): 1 at a margin of 0, and never above 1 + gain.

    The factor that MM-RLHF (Zhang et al. 2025) gives a pair's beta. A negative margin counts as
    0, NaN stays NaN.
    """
    value = np.maximum(np.asarray(margin, dtype=np.float64), 0.0)
    return np.asarray(1.0 + gain * (1.0 - np.exp(-rate * value)))


class Weigh(Stage, name="weigh"):
    """Write `weight` into the pairs: how much each counts in training.

    "strength": the size of the margin, so that a pair of strength 3 counts three times one of
    strength 1 (the scaled Bradley-Terry loss of HelpSteer2-Preference, Wang et al. 2024).
    "saturating": more for clear pairs, up to a limit; see `saturating` (MM-RLHF, 2025).
    "share": 1 / the prompt's live pairs, so that prompts with many pairs count like others.
    A weight that is there already is multiplied. Pairs without a margin get no weight from the
    first two; dropped pairs are left as they are.
    """

    needs = ("candidates", "pairs")
    writes = ("pairs",)

    method: Literal["strength", "saturating", "share"] = "strength"
    """What the weight is made from."""
    gain: float = Field(0.5, ge=0, allow_inf_nan=False)
    """saturating: what the clearest pairs count above 1."""
    rate: float = Field(0.5, gt=0, allow_inf_nan=False)
    """saturating: how fast the weight rises, in 1 / the margin's unit."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their weights."""
        pairs = read_pairs(view)
        if self.method == "share":
            size = np.bincount(pairs.row[pairs.live], minlength=len(pairs.sizes))[pairs.row]
            weight = 1.0 / np.maximum(size, 1)
        elif self.method == "saturating":
            weight = saturating(pairs.floats("margin"), self.gain, self.rate)
        else:
            weight = np.abs(pairs.floats("margin"))
        before = pairs.floats("weight")
        weight = weight * np.where(np.isnan(before), 1.0, before)
        return edited(pairs, set_floats(pairs.values, "weight", weight, pairs.live))
