"""Scores less what an answer's length costs."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import lengths
from curate.stage import Context, Result, Stage
from curate.stages.combine import score_lists
from curate.stages.live import candidate_texts
from curate.stages.pairing import aligned_scores


class LengthPenalty(Stage, name="length_penalty"):
    """Take `cost` off each score for every character or word of the answer.

    The penalty of the RLHF Workflow (Dong et al. 2024), for judges and reward models that like
    length for its own sake. The unit is the scores' own, so look at how far a prompt's answers
    lie apart before choosing `cost`. Where pairs are there already, see `style_control`.
    """

    needs = ("candidates", "scores")
    writes = ("scores",)

    cost: float = Field(gt=0, allow_inf_nan=False)
    """What one character or word takes off the score."""
    per: Literal["character", "word"] = "character"
    """What is counted; a word ends at white space."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the lower scores; null stays null."""
        counts, texts = lengths(view["candidates"]), candidate_texts(view["candidates"])
        if self.per == "character":
            size = pc.utf8_length(texts)
        else:
            size = pc.count_substring_regex(texts, r"\S+")
        scores = aligned_scores(view["scores"], counts) - self.cost * np.asarray(size)
        return {"scores": score_lists(counts, scores)}
