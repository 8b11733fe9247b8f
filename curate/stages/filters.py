"""Row-local filters on scores and pairs: how far apart, how certain, how good."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import Bools, Floats, flat, lengths, owners
from curate.methods.cells import judge_cells
from curate.methods.judgments import Judgments, of_view, select, true
from curate.methods.pairing import TOLERANCE
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.live import with_reasons
from curate.stages.pair_edits import edited, first_reason, read_pairs, set_floats
from curate.stages.pairing import aligned_scores


def below(values: Floats, threshold: float) -> Bools:
    """Return where a float32 value is below the threshold by more than rounding; NaN: false."""
    return np.asarray(values < threshold - TOLERANCE * abs(threshold))


def above(values: Floats, threshold: float) -> Bools:
    """Return where a float32 value is above the threshold by more than rounding; NaN: false."""
    return np.asarray(values > threshold + TOLERANCE * abs(threshold))


def mean_scores(judgments: Judgments, candidates: int) -> Floats:
    """Return (candidates,) the mean over the judges that score, NaN where there is none.

    What `combine` gives with its defaults where no judge compares.
    """
    scores = select(judgments, np.flatnonzero(~judgments.compares))
    cells = judge_cells(scores, candidates)
    with np.errstate(invalid="ignore"):
        total = np.bincount(cells.candidate, cells.mean, candidates)
        return np.asarray(total / np.bincount(cells.candidate, minlength=candidates))


class Margin(Stage, name="margin"):
    """Drop pairs whose scores are too close, too far apart, or too uncertain.

    A pair without a margin gets the difference of its candidates' scores where `scores` exist,
    and the reason "no margin" otherwise. With `max_std` both answers need a score_std of at
    most that, and an answer without one counts as uncertain. Pairs that use a dropped
    candidate are dropped too. An earlier reason is kept; a row whose pairs are all dropped is
    dropped for the reason of the first that went now. Bounds are inclusive.
    """

    needs = ("candidates", "pairs")
    uses = ("scores",)
    writes = ("pairs",)

    at_least: float = Field(0.0, allow_inf_nan=False, description="smallest margin kept")
    at_most: float | None = Field(None, allow_inf_nan=False, description="largest margin kept")
    max_std: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="largest score_std of either answer"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Margin:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most ({self.at_most}) is less than at_least ({self.at_least})")
        return self

    def needed(self) -> tuple[str, ...]:
        """Need `score_std` too where it is bounded."""
        return self.needs if self.max_std is None else (*self.needs, "score_std")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons. Raises StageError for an index out of range."""
        pairs = read_pairs(view)
        values, margin = pairs.values, pairs.floats("margin")
        unknown = np.isnan(margin)
        if "scores" in view.column_names and unknown.any():
            scores = aligned_scores(view["scores"], pairs.counts)
            margin = np.where(unknown, scores[pairs.chosen] - scores[pairs.rejected], margin)
            values = set_floats(values, "margin", margin, unknown)
        gone = true(pc.is_valid(flat(view["candidates"], "drop")))
        dropped = gone[pairs.chosen] | gone[pairs.rejected]
        masks = [(dropped, "candidate dropped"), (np.isnan(margin), "no margin")]
        masks.append((below(margin, self.at_least), f"margin below {self.at_least}"))
        if self.at_most is not None:
            masks.append((above(margin, self.at_most), f"margin above {self.at_most}"))
        if self.max_std is not None:
            spread = aligned_scores(view["score_std"], pairs.counts)
            std = np.maximum(spread[pairs.chosen], spread[pairs.rejected])  # NaN if either is
            masks.append((np.isnan(std), "uncertain: no score_std"))
            masks.append((above(std, self.max_std), f"uncertain: score_std above {self.max_std}"))
        return edited(pairs, values, masks)


class MinScore(Stage, name="min_score"):
    """Drop candidates whose score is below `at_least` or missing, and rows left with none.

    The score is `scores` where an earlier stage wrote it, else the mean over the candidate's
    judges, each by its own mean as in `combine`. Candidates already dropped keep their reason.
    """

    version = 2
    needs = ("candidates", "judgments")
    uses = ("scores",)
    writes = ("candidates",)

    at_least: float = Field(allow_inf_nan=False, description="smallest score kept")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates with their reasons, every text untouched."""
        counts = lengths(view["candidates"])
        if "scores" in view.column_names:
            scores = aligned_scores(view["scores"], counts)
        else:
            scores = mean_scores(of_view(view), int(counts.sum()))
        masks = [
            (np.isnan(scores), "no score"),
            (below(scores, self.at_least), f"score below {self.at_least}"),
        ]
        reason = first_reason(flat(view["candidates"], "drop"), masks)
        left = np.bincount(owners(counts)[true(pc.is_null(reason))], minlength=len(counts))
        none = pa.scalar(None, pa.string())
        why = pa.scalar(f"no candidate with a score of {self.at_least} or more")
        return {
            "candidates": with_reasons(view["candidates"], reason),
            DROP: pc.if_else(pa.array(left == 0), why, none),
        }
