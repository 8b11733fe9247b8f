"""A share of the pairs, drawn by how much each counts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from curate.arrays import mix, starts_of
from curate.methods.sampling import weighted_sample
from curate.stage import Context, Result, Stage
from curate.stages.budget import Keep, rows_to_keep
from curate.stages.pair_edits import edited, read_pairs, set_floats


class DrawPairs(Stage, name="draw_pairs"):
    """Keep a number or share of the live pairs, drawn without replacement by one of their numbers.

    After `consensus: {weigh: true}` this is the reliable sampling of UPO (Wang et al. 2024):
    pairs on which the judges are at odds seldom come through, yet are not shut out by a
    threshold. A pair without the number, or with 0, is dropped. A weight that pairs were drawn by
    has had its effect: those that are kept have none any more, or a trainer would count it again.
    """

    version = 2
    needs = ("id", "candidates", "pairs")
    writes = ("pairs",)
    scope = "dataset"
    seeded = True

    keep: Keep
    """Pairs to keep, or a share of the live ones in (0, 1)."""
    by: Literal["weight", "p_correct", "margin"] = "weight"
    """The number that the chance of a pair is proportional to."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons."""
        pairs = read_pairs(view)
        value = np.where(pairs.live, pairs.floats(self.by), np.nan)
        place = np.arange(len(pairs.row)) - starts_of(pairs.sizes)[pairs.row]
        keys = mix(ctx.row_seeds(view["id"], self.kind)[pairs.row], place)
        drawn = weighted_sample(value, keys, rows_to_keep(self.keep, int(pairs.live.sum())))
        masks = [(~(value > 0), f"no {self.by} to be drawn by"), (~drawn, "not drawn")]
        values = pairs.values
        if self.by == "weight":
            values = set_floats(values, "weight", np.full(len(value), np.nan), drawn)
        return edited(pairs, values, masks)
