"""A share of the pairs, drawn by how much each counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.arrays import Floats, mix, places_of
from curate.methods.sampling import weighted_sample
from curate.stage import Context, Result
from curate.stages.budget import Keep, rows_to_keep
from curate.stages.pair_edits import Pairs, edited, read_pairs, set_floats
from curate.stages.reduced import Reduced, Values


class DrawPairs(Reduced, name="draw_pairs"):
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

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return each pair's number and the key that it is drawn by."""
        pairs = read_pairs(view)
        place = places_of(pairs.sizes)
        keys = mix(ctx.row_seeds(view["id"], self.kind)[pairs.row], place)
        return {"value": self._value(pairs), "key": keys, "live": pairs.live}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return which pairs are drawn."""
        value, key, live = (np.asarray(found[name]) for name in ("value", "key", "live"))
        return {"drawn": weighted_sample(value, key, rows_to_keep(self.keep, int(live.sum())))}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs with their reasons."""
        pairs, drawn = read_pairs(view), np.asarray(decided["drawn"])
        value, values = self._value(pairs), pairs.values
        masks = [(~(value > 0), f"no {self.by} to be drawn by"), (~drawn, "not drawn")]
        if self.by == "weight":
            values = set_floats(values, "weight", np.full(len(value), np.nan), drawn)
        return edited(pairs, values, masks)

    def _value(self, pairs: Pairs) -> Floats:
        return np.where(pairs.live, pairs.floats(self.by), np.nan)
