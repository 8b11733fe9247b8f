"""Many judgments to one score a candidate, and how far the judges disagree about it.

Judges differ in how harsh they are and in how much of the scale they use, so their scores can
be standardised before they are pooled: within each prompt, or over the whole dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import Ints, lengths, lists, owners
from curate.errors import StageError
from curate.methods.cells import (
    Cells,
    Scale,
    combine_scores,
    halved,
    judge_cells,
    of_judge,
    scale_cells,
)
from curate.methods.ensemble import (
    Pool,
    log_odds,
    log_sigmoid,
    vote_score,
)
from curate.methods.judgments import Committee, Own, as_committee, of_view, torn_as_ties
from curate.stage import Context, Result, Scope
from curate.stages.judge_tables import calls_in, kept_calls
from curate.stages.reduced import Reduced, Values

Transform: TypeAlias = Literal["none", "log_odds", "log_sigmoid", "votes"]


def score_lists(counts: Ints, values: npt.NDArray[Any]) -> pa.Array:
    """Return list<float32> with `counts` values a row; NaN becomes null."""
    return lists(counts, pa.array(values.astype(np.float32), mask=np.isnan(values)))


class Combine(Reduced, name="combine"):
    """Combine the judgments of each candidate into `scores` and `score_std`.

    Only judgments with status ok count; a candidate with none gets a null score. A judge's
    samples and aspects are averaged, transformed, scaled and then pooled with the other judges.
    Judges that use different ranges (1-5 and 1-10, or scores and comparisons) need a `scale`.
    """

    version = 2
    needs = ("candidates", "judgments")
    writes = ("scores", "score_std")

    judges: tuple[str, ...] = Field((), description="judges that count; empty: all")
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="weight by judge; 1 where not named, 0 to leave it out"
    )
    transform: Transform = Field(
        "none",
        description="log_odds of probabilities; log_sigmoid of rewards above a reference; "
        "votes: round(log2(1 + votes)) of a forum's votes, -1 below zero",
    )
    quantile: float = Field(
        0.85, gt=0, lt=1, description="log_sigmoid: the reference among a prompt's rewards"
    )
    committee: Committee = Field(
        "judges", description="who is pooled: judges, or each of their samples or aspects"
    )
    torn: Literal["mean", "tie"] = Field(
        "mean", description="comparisons whose two orders disagree: their mean, or a tie"
    )
    scale: Scale = Field(
        "none",
        description="z-score each judge within the prompt or dataset; deviation, variance: "
        "divide by the judge's in the dataset",
    )
    pool: Pool = Field(
        "mean",
        description="how judges become one score; weights: mean, sum; closest: the mean of the "
        "three scores that lie closest together; loudest: the one furthest from 0",
    )
    caution: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="mean_std, mean_var, robust: how pessimistic"
    )
    min_judges: int = Field(1, ge=1, description="fewer judges than this: a null score")
    required: tuple[str, ...] = Field(
        (), description="judges without whom an answer has no score, whoever else scored it"
    )
    veto: tuple[str, ...] = Field(
        (), description="judges whose score stands alone where it is below 0 on the common scale"
    )
    halve: bool = Field(
        False, description="a comparison of s is s / 2 and -s / 2: the scores lie s apart, not 2 s"
    )
    judge_models: dict[str, str] = Field(
        default_factory=dict, description="a judge's (or its engine's) model, by how it begins"
    )
    exclude_own: Own = Field(
        "prompt", description="judge_models: leave out judges of an own answer, or its scores"
    )

    def view_scope(self) -> Scope:
        """See every shard only where the scale is the dataset's."""
        return "shard" if self.scale in ("none", "prompt") else "dataset"

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return what each judge says of each candidate, before it is scaled.

        Raises StageError for judgments that cannot be combined.
        """
        counts = lengths(view["candidates"])
        judgments = of_view(view, self.judges, self.judge_models, self.exclude_own)
        whole = torn_as_ties(judgments) if self.torn == "tie" else judgments
        voters = as_committee(whole, self.committee)
        rows = owners(counts)
        cells = judge_cells(voters, len(rows))
        if self.halve:
            cells = halved(cells, voters)
        cells = self._transformed(cells, rows, len(voters.judges))
        seen = np.bincount(cells.candidate, minlength=len(rows))
        return {
            "seen": seen, "sizes": counts, "mean": cells.mean, "own": cells.own,
            **kept_calls(judgments, voters, cells.judge),
        }  # fmt: skip

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the candidates' scores and deviations."""
        seen, rows = np.asarray(found["seen"]), owners(np.asarray(found["sizes"]))
        judges, judge = calls_in(found)
        cells = Cells(owners(seen), judge, np.asarray(found["mean"]), np.asarray(found["own"]))
        cells = scale_cells(cells, rows, len(judges), self.scale)
        weights = np.array([self.weights.get(name, 1.0) for name in judges], dtype=float)
        score, std = combine_scores(
            cells, rows, weights, how=self.pool, caution=self.caution, min_judges=self.min_judges
        )
        for name in self.required:
            lacking = np.isnan(of_judge(name, cells, judges, len(rows)))
            score[lacking] = std[lacking] = np.nan
        for name in self.veto:
            alone = of_judge(name, cells, judges, len(rows))
            bad = (alone < 0) & ~(alone >= score)  # of several, the lowest
            score[bad], std[bad] = alone[bad], np.nan
        return {"score": score, "std": std}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return both columns."""
        counts = lengths(view["candidates"])
        score, std = (np.asarray(decided[name]) for name in ("score", "std"))
        return {"scores": score_lists(counts, score), "score_std": score_lists(counts, std)}

    def _transformed(self, cells: Cells, rows: Ints, judges: int) -> Cells:
        if self.transform == "none":
            return cells
        if self.transform == "votes":
            mean = vote_score(cells.mean)
            return cells._replace(mean=mean, own=np.full(len(mean), np.nan))
        if self.transform == "log_sigmoid":
            prompt = rows[cells.candidate] * judges + cells.judge
            mean, own = log_sigmoid(cells.mean, cells.own, prompt, self.quantile)
            return cells._replace(mean=mean, own=own)
        try:
            mean, own = log_odds(cells.mean, cells.own)
        except ValueError as error:
            raise StageError(f"combine, transform log_odds: {error}") from None
        return cells._replace(mean=mean, own=own)
