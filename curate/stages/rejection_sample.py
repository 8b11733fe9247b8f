"""A few answers of many, drawn as a better policy would."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import flat
from curate.methods.sampling import rejection_sample
from curate.stage import Context, Result, Stage
from curate.stages.live import with_reasons
from curate.stages.pair_edits import first_reason
from curate.stages.pairing import usable_scores


class RejectionSample(Stage, name="rejection_sample"):
    """Keep `keep` answers of each prompt, drawn by score; the others are dropped.

    Statistical rejection sampling (RSO, Liu et al. 2024): what is left is distributed as the
    answers of the policy that the scores would train. Scores must be rewards in log-odds, as
    `rank` and Bradley-Terry reward models give them. Answers without a score are dropped.
    """

    needs = ("id", "candidates", "scores")
    writes = ("candidates",)
    seeded = True

    keep: int = Field(8, ge=1)
    """Answers a prompt."""
    beta: float = Field(0.5, gt=0, allow_inf_nan=False)
    """Near 0 the best are kept, far above the rewards' spread any."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates with their reasons."""
        counts, scores, _ = usable_scores(view)
        seeds = ctx.row_seeds(view["id"], self.kind)
        taken = rejection_sample(counts, scores, self.keep, self.beta, seeds)
        masks = [(np.isnan(scores), "no score"), (~taken, "not sampled")]
        reason = first_reason(flat(view["candidates"], "drop"), masks)
        return {"candidates": with_reasons(view["candidates"], reason)}
