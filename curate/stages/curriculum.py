"""An order to train in: from pairs that are easy to tell apart to hard ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import Floats, Ints, lengths, lists, owners
from curate.stage import Context, Result, Scope
from curate.stages.pair_edits import read_pairs
from curate.stages.reduced import Reduced, Values

NOISY = 0
"""The step of pairs whose margin says that the rejected answer is the better one."""


def steps_within(row: Ints, margin: Floats) -> Ints:
    """Return each pair's place (pairs,) among its prompt's by falling margin, the widest 1.

    `row` (pairs,) is each pair's prompt. Equal margins share a step and the next one follows
    without a gap; a negative margin is `NOISY`, a missing one (NaN) -1.
    """
    step = np.where(np.isnan(margin), -1, NOISY).astype(np.int64)
    at = np.flatnonzero(margin >= 0)
    order = at[np.lexsort((-margin[at], row[at]))]
    first = np.diff(row[order], prepend=-1) != 0
    fresh = np.cumsum(first | (np.diff(margin[order], prepend=np.nan) != 0))
    step[order] = fresh - np.repeat(fresh[first], np.diff(np.flatnonzero(first), append=len(order)))
    step[order] += 1
    return step


def steps_over_all(margin: Floats, steps: int) -> Ints:
    """Return which of `steps` parts (pairs,) each margin is in: 1 holds the widest margins.

    The parts hold equally many pairs, as far as equal margins, which stay together, let them.
    Negative and missing margins as in `steps_within`.
    """
    step = np.where(np.isnan(margin), -1, NOISY).astype(np.int64)
    known = margin >= 0
    values = np.sort(-margin[known])
    place = np.searchsorted(values, -margin[known])  # how many are wider
    step[known] = place * steps // max(len(values), 1) + 1
    return step


class Curriculum(Reduced, name="curriculum"):
    """Write `curriculum`: the step at which each pair comes into training, easiest first.

    Within a "prompt" the steps are the places of its pairs by falling margin, 1 the widest
    (Curri-DPO, Pattnaik et al. 2024: best against worst, then against ever better answers).
    Over the "dataset" there are `steps` parts of about equal size (two: the easy pairs for
    offline training and the hard ones for online, as in Mixed Preference Optimization, 2024).
    Step 0 holds pairs whose margin contradicts them, null stands for dropped pairs and for those
    without a margin. The export writes it as `curriculum_step`.
    """

    needs = ("candidates", "pairs")
    writes = ("curriculum",)

    within: Literal["prompt", "dataset"] = "prompt"
    """What a pair is compared with."""
    steps: int = Field(2, ge=1)
    """dataset: how many parts."""

    def view_scope(self) -> Scope:
        """See every shard where the dataset is divided."""
        return "shard" if self.within == "prompt" else "dataset"

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the pairs' margins and how many each row has."""
        pairs = read_pairs(view)
        margin = np.where(pairs.live, pairs.floats("margin"), np.nan)
        return {"margin": margin, "sizes": pairs.sizes}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the pairs' steps."""
        margin, sizes = np.asarray(found["margin"]), np.asarray(found["sizes"])
        if self.within == "prompt":
            step = steps_within(owners(sizes), margin)
        else:
            step = steps_over_all(margin, self.steps)
        for number, size in zip(*np.unique(step[step >= 0], return_counts=True), strict=True):
            ctx.counts[f"pairs of step {number}"] += int(size)
        return {"step": step}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the steps, aligned with the pairs."""
        return {"curriculum": lists(lengths(view["pairs"]), _steps(np.asarray(decided["step"])))}


def _steps(step: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(step, pa.int32(), mask=step < 0)
