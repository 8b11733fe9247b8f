"""Judges' votes to the probability that a pair's label is right, and what to do with doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.methods.crowd import dawid_skene, posterior, vote_share
from curate.methods.judgments import Own, of_view
from curate.methods.votes import pair_votes, unselected
from curate.stage import Context, Result, Scope, Stage
from curate.stages.judge_tables import judges_in, kept_tables, table_in
from curate.stages.pair_edits import edited, flip, read_pairs, set_floats
from curate.stages.reduced import Reduced, Values


class Jury(Reduced, name="jury"):
    """Write `p_correct` into the pairs: how likely the chosen answer is the better one.

    A judge has one vote a pair: the mean of its comparisons in both orders, or the sign of the
    difference of its mean scores. Log-odds count as the probability that they stand for, so that
    a judge near even odds has little of a vote. "vote" gives every judge the same weight. "em"
    (Dawid and Skene 1979) weighs each by its accuracy, which it learns from how the judges agree:
    on candidates that stand side by side and on compared ones, not on the chosen pairs alone,
    which were picked for their votes. Judges that err together make "em" too sure of itself: with
    two or three of a kind use "vote", or `calibrate` where there are labels. See
    `crowd.dawid_skene` and `crowd.vote_share`.
    """

    version = 2
    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)

    method: Literal["em", "vote"] = Field("em", description="weigh judges by accuracy, or not")
    judges: tuple[str, ...] = Field((), description="judges that count; empty: all")
    label: bool = Field(
        False, description="count the pair's own label as one more judge: for labels from outside"
    )
    prior_accuracy: float = Field(
        0.7, gt=0.5, lt=1, description="em: a judge's accuracy beforehand"
    )
    prior_votes: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="em: votes that the prior is worth"
    )
    min_judges: int = Field(1, ge=1, description="fewer voters than this: no p_correct")
    judge_models: dict[str, str] = Field(
        default_factory=dict, description="a judge's (or its engine's) model, by how it begins"
    )
    exclude_own: Own = Field(
        "prompt", description="judge_models: leave out judges of an own answer, or its scores"
    )

    def view_scope(self) -> Scope:
        """See every shard where accuracies are learnt."""
        return "dataset" if self.method == "em" else "shard"

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return what the judges say about each pair, and about unselected ones to learn from."""
        pairs = read_pairs(view)
        judgments = of_view(view, self.judges, self.judge_models, self.exclude_own)
        n = int(pairs.counts.sum())
        tables = {"votes": pair_votes(judgments, pairs.chosen, pairs.rejected, n).leaning}
        if self.method == "em" and not self.label:
            first, second = unselected(judgments, pairs.counts)
            tables["others"] = pair_votes(judgments, first, second, n).leaning
        return {"live": pairs.live, **kept_tables(judgments, **tables)}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the pairs' p_correct; NaN below `min_judges` voters."""
        votes = table_in(found, "votes")
        if self.label:
            votes = np.column_stack([votes, np.ones(len(votes))])
        p, voters = vote_share(votes)
        if self.method == "em":
            # From the labelled pairs where the label votes, else from unselected ones.
            known = votes if self.label else table_in(found, "others")
            accuracy = dawid_skene(
                known, prior_accuracy=self.prior_accuracy, prior_votes=self.prior_votes
            ).accuracy
            names = (*judges_in(found), "label")
            for name, value in zip(names, accuracy.tolist(), strict=False):
                ctx.counts[f"accuracy of {name}, percent"] = round(100 * value)
            p = posterior(votes, accuracy)
        return {"p": np.where(voters < self.min_judges, np.nan, p)}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs with p_correct."""
        pairs, p = read_pairs(view), np.asarray(decided["p"])
        return edited(pairs, set_floats(pairs.values, "p_correct", p, np.ones(len(p), dtype=bool)))


class Confident(Stage, name="confident"):
    """Keep the pairs whose label is likely right by `p_correct`, and turn round wrong ones.

    A pair without a p_correct is dropped. With `flip` a pair whose p_correct is at most
    1 - at_least is turned: chosen and rejected trade places and the source says so. What lies
    between is dropped as uncertain. To train on soft labels use p_correct and drop nothing.
    """

    needs = ("candidates", "pairs")
    writes = ("pairs",)

    at_least: float = Field(0.5, ge=0, le=1, description="smallest p_correct kept")
    flip: bool = Field(False, description="turn the pairs whose other side is that likely")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons."""
        pairs = read_pairs(view)
        p = pairs.floats("p_correct")
        values = pairs.values
        if self.flip:
            # Even odds are no ground to turn a pair, even where they are enough to keep it.
            turn = pairs.live & (1.0 - p >= self.at_least - 1e-6) & (p < 0.5)
            values = flip(values, turn)
            ctx.counts["flipped"] += int(turn.sum())
            p = np.where(turn, 1.0 - p, p)
        low = p < self.at_least - 1e-6  # float32
        masks = [(np.isnan(p), "no p_correct"), (low, f"p_correct below {self.at_least}")]
        return edited(pairs, values, masks)
