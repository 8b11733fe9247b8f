"""Labels that somebody who knows better has decided."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat
from curate.methods.judgments import of_view
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import edited, flip, read_pairs
from curate.stages.votes import pair_votes


class Overrule(Stage, name="overrule"):
    """Let one judge's, or several people's, verdicts decide the pairs that they have seen.

    A pair that most of them see the other way round is turned, and one on which they are evenly
    split is dropped. Pairs that none of them has seen keep the label they have: for labels by a
    model of which people looked at some. The record counts what was confirmed and what turned.
    """

    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)

    judge: str = "people"
    """A judge's name, or what comes before the colon in several: "people" stands for
    "people:7" and "people:8"."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs, some of them turned."""
        pairs = read_pairs(view)
        names = pc.unique(flat(view["judgments"], "judge")).drop_null().to_pylist()
        mine = tuple(n for n in names if n == self.judge or n.startswith(f"{self.judge}:"))
        if not mine:
            return edited(pairs, pairs.values)
        found = of_view(view, mine)
        votes = pair_votes(found, pairs.chosen, pairs.rejected, int(pairs.counts.sum())).vote
        seen = pairs.live & ~np.isnan(votes).all(axis=1)
        verdict = np.sign(np.nan_to_num(np.sign(votes)).sum(axis=1))
        turned, split = seen & (verdict < 0), seen & (verdict == 0)
        for what, mask in (("confirmed", seen & (verdict > 0)), ("turned", turned)):
            ctx.counts[what] += int(mask.sum())
        values = flip(pairs.values, turned)
        return edited(pairs, values, [(split, f"evenly split: {self.judge}")])
