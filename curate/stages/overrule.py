"""Labels that somebody who knows better has decided."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.methods.judgments import of_view
from curate.methods.votes import pair_votes
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import edited, flip, read_pairs


class Overrule(Stage, name="overrule"):
    """Let one judge's, or several people's, verdicts decide the pairs that they have seen.

    A pair that most of them see the other way round is turned, and one on which they are evenly
    split is dropped. Pairs that none of them has seen keep the label they have: for labels by a
    model of which people looked at some. The record counts what was confirmed and what turned.
    """

    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)
    version = 2

    judge: str = "people"
    """A judge's name, or what comes before the colon in several: "people" stands for
    "people:7" and "people:8"."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs, some of them turned."""
        pairs = read_pairs(view)
        found = of_view(view, (self.judge,))
        votes = pair_votes(found, pairs.chosen, pairs.rejected, int(pairs.counts.sum())).vote
        seen = pairs.live & ~np.isnan(votes).all(axis=1)
        verdict = np.sign(np.nan_to_num(np.sign(votes)).sum(axis=1))
        turned, split = seen & (verdict < 0), seen & (verdict == 0)
        for what, mask in (("confirmed", seen & (verdict > 0)), ("turned", turned)):
            ctx.counts[what] += int(mask.sum())
        values = flip(pairs.values, turned)
        return edited(pairs, values, [(split, f"evenly split: {self.judge}")])
