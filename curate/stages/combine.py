"""Many judgments to one score a candidate, and how far the judges disagree about it.

Judges differ in how harsh they are and in how much of the scale they use, so their scores can
be standardised before they are pooled: within each prompt, or over the whole dataset.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import lengths, lists, owners
from curate.errors import StageError
from curate.methods.cells import Cells, judge_cells, of_judge
from curate.methods.ensemble import (
    Pool,
    closest,
    deviation,
    log_odds,
    log_sigmoid,
    pool,
    standardise,
    vote_score,
)
from curate.methods.judgments import Floats, Ints, Judgments, Own, of_view
from curate.stage import Context, Result, Scope, Stage

Scale: TypeAlias = Literal["none", "prompt", "dataset", "centre"]
Transform: TypeAlias = Literal["none", "log_odds", "log_sigmoid", "votes"]


def scale_cells(cells: Cells, rows: Ints, judges: int, scale: Scale) -> Cells:
    """Return the cells on a common scale.

    "prompt" and "dataset" turn a judge's scores into z-scores over each prompt or the dataset
    (population standard deviation; no variance gives 0). "centre" takes off the judge's mean
    over each prompt's answers, then divides by its deviation of what is left in the dataset:
    rewards are defined up to a constant a prompt, and this keeps how much a prompt's answers
    differ. `rows` (candidates,) is each candidate's prompt.
    """
    if scale == "none":
        return cells
    prompt = rows[cells.candidate] * judges + cells.judge
    key = prompt if scale == "prompt" else cells.judge
    within = prompt if scale == "centre" else None
    mean, own = standardise(cells.mean, cells.own, key, within)
    return cells._replace(mean=mean, own=own)


def tabulate(cells: Cells, candidates: int, judges: int) -> tuple[Ints, tuple[int, int]]:
    """Return where each cell stands in a flattened (slots, candidates) table, and its shape.

    A slot is a judge; where there are many judges and few of them saw each candidate
    (annotators), a slot is a judge's place among those of the candidate.
    """
    if candidates * judges <= 8 * len(cells.mean) + 1024:
        return cells.judge * candidates + cells.candidate, (judges, candidates)
    seen = np.bincount(cells.candidate, minlength=candidates)
    slot = np.arange(len(cells.mean)) - np.repeat(np.cumsum(seen) - seen, seen)
    return slot * candidates + cells.candidate, (int(seen.max(initial=0)), candidates)


def combine_scores(
    cells: Cells,
    rows: Ints,
    weights: Floats,
    *,
    how: Pool = "mean",
    caution: float = 0.5,
    min_judges: int = 1,
) -> tuple[Floats, Floats]:
    """Return each candidate's score and its standard deviation, NaN where there is none.

    See `ensemble.pool` for `how`. The deviation is the unweighted population deviation over
    judges ("closest": over the three that count); where only one judge scored the candidate it is
    that judge's own. `rows`
    (candidates,) is each candidate's prompt, `weights` (judges,) is at least 0; a judge of
    weight 0 is ignored. A candidate scored by fewer than `min_judges` judges gets NaN.
    """
    n = len(rows)
    if not (weights[cells.judge] > 0).all():
        kept = weights[cells.judge] > 0
        cells = Cells(cells.candidate[kept], cells.judge[kept], cells.mean[kept], cells.own[kept])
    place, shape = tabulate(cells, n, len(weights))

    def table(values: Floats) -> Floats:
        filled = np.full(shape[0] * shape[1], np.nan)
        filled[place] = values
        return filled.reshape(shape)

    means = table(cells.mean)
    weight = None if (weights[weights > 0] == 1).all() else table(weights[cells.judge])
    stds = table(cells.own) if how == "robust" else None
    score = pool(means, how, caution=caution, weights=weight, stds=stds)
    seen = np.bincount(cells.candidate, minlength=n)
    std = np.full(n, np.nan)
    std[cells.candidate] = cells.own
    std = np.where(seen > 1, deviation(closest(means) if how == "closest" else means), std)
    missing = seen < max(min_judges, 1)
    score[missing] = std[missing] = np.nan
    return score, std


def halved(cells: Cells, judgments: Judgments) -> Cells:
    """Return the cells with half of what comparing judges say: the difference is then all of it."""
    compares = np.zeros(len(judgments.judges), dtype=bool)
    compares[judgments.judge[judgments.compares]] = True
    share = np.where(compares[cells.judge], 0.5, 1.0)
    return cells._replace(mean=cells.mean * share, own=cells.own * share)


def score_lists(counts: Ints, values: npt.NDArray[Any]) -> pa.Array:
    """Return list<float32> with `counts` values a row; NaN becomes null."""
    return lists(counts, pa.array(values.astype(np.float32), mask=np.isnan(values)))


class Combine(Stage, name="combine"):
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
    scale: Scale = Field("none", description="z-score each judge within the prompt or dataset")
    pool: Pool = Field(
        "mean",
        description="how judges become one score; weights: mean, sum; closest: the mean of the "
        "three scores that lie closest together",
    )
    caution: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="mean_std, mean_var, robust: how pessimistic"
    )
    min_judges: int = Field(1, ge=1, description="fewer judges than this: a null score")
    required: tuple[str, ...] = Field(
        (), description="judges without whom an answer has no score, whoever else scored it"
    )
    veto: tuple[str, ...] = Field(
        (), description="judges of whom a score below 0, on the common scale, stands alone"
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
        return "dataset" if self.scale in ("dataset", "centre") else "shard"

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return both columns. Raises StageError for judgments that cannot be combined."""
        counts = lengths(view["candidates"])
        judgments = of_view(view, self.judges, self.judge_models, self.exclude_own)
        rows, n = owners(counts), len(judgments.judges)
        cells = judge_cells(judgments, len(rows))
        if self.halve:
            cells = halved(cells, judgments)
        cells = scale_cells(self._transformed(cells, rows, n), rows, n, self.scale)
        weights = np.array([self.weights.get(name, 1.0) for name in judgments.judges], dtype=float)
        score, std = combine_scores(
            cells, rows, weights, how=self.pool, caution=self.caution, min_judges=self.min_judges
        )
        for name in self.required:
            lacking = np.isnan(of_judge(name, cells, judgments, len(rows)))
            score[lacking] = std[lacking] = np.nan
        for name in self.veto:
            alone = of_judge(name, cells, judgments, len(rows))
            bad = (alone < 0) & ~(alone >= score)  # of several, the lowest
            score[bad], std[bad] = alone[bad], np.nan
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
