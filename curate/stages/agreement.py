"""Filters on how judges agree: with each other, with themselves, and on whole rankings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Floats
from curate.methods.cells import judge_cells, of_judge
from curate.methods.crowd import row_sums
from curate.methods.judgments import Committee, Judgments, as_committee, of_view
from curate.methods.noise import agreed, bald, label_doubt, rank_agreement
from curate.methods.votes import by_name, order_consistency, pair_votes
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import edited, flip, read_pairs, set_floats
from curate.stages.pairing import aligned_scores


class Consensus(Stage, name="consensus"):
    """Drop pairs that the judges disagree about, and weigh the others by how far they agree.

    `agreement` is the share of voting judges that favour the chosen answer, a tie counting half
    (see `votes.PairVotes.vote`); `consistency` the share of comparing judges whose two orders
    agree; `bald` the disagreement beyond each judge's own doubt, in nats, of the probabilities
    that their verdicts stand for (see `noise.bald`). A bound that cannot be checked, because
    nobody voted or no judge gave both orders, is a reason too. Bounds are inclusive.

    With `committee: samples` each of a judge's repeated answers is a member of its own: one
    model's doubt, as UPO (Wang et al. 2024) reads it from passes with dropout.
    """

    version = 2

    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)

    judges: tuple[str, ...] = Field((), description="judges that count; empty: all")
    min_judges: int = Field(1, ge=0, description="fewest judges that voted")
    min_agreement: float | None = Field(None, ge=0, le=1, description="least share for the label")
    min_consistency: float | None = Field(None, ge=0, le=1, description="least share of one mind")
    max_bald: float | None = Field(None, ge=0, description="most disagreement, in [0, 0.693]")
    weigh: bool = Field(False, description="set weight to 1 - bald")
    soften: bool = Field(
        False, description="set p_correct to 1 - bald / (2 ln 2): from 1 to even odds"
    )
    committee: Committee = Field(
        "judges", description="who votes: judges, or each of their samples or aspects"
    )

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons and weights."""
        pairs = read_pairs(view)
        judgments = as_committee(of_view(view, self.judges), self.committee)
        votes = pair_votes(judgments, pairs.chosen, pairs.rejected, int(pairs.counts.sum()))
        voters = (~np.isnan(votes.vote)).sum(axis=1)
        masks = [(voters < self.min_judges, f"fewer than {self.min_judges} judges voted")]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = row_sums(0.5 + 0.5 * votes.vote) / voters
        if self.min_agreement is not None:
            low = ~(share >= self.min_agreement - 1e-9)
            masks.append((low, f"agreement below {self.min_agreement}"))
        if self.min_consistency is not None:
            same, _ = order_consistency(votes)
            low = ~(same >= self.min_consistency - 1e-9)
            masks.append((low, f"order consistency below {self.min_consistency}"))
        torn = bald(votes.probability)
        if self.max_bald is not None:
            masks.append((~(torn <= self.max_bald + 1e-9), f"bald above {self.max_bald}"))
        values = pairs.values
        if self.weigh:
            values = set_floats(values, "weight", 1.0 - torn, ~np.isnan(torn))
        if self.soften:
            values = set_floats(values, "p_correct", 1.0 - label_doubt(torn), ~np.isnan(torn))
        return edited(pairs, values, masks)


class Verify(Stage, name="verify"):
    """Keep the pairs that `all_of` these judges, and one or more of `any_of`, agree with.

    A judge agrees where its margin (scores, or the mean of its comparisons) favours the chosen
    answer by `at_least`. With `flip` a pair that passes the same rule the other way round is
    turned instead of dropped; a tie or a silent judge never turns one. A pair that somebody of
    `decided_by` gave a verdict on stays as it is. After the agreement rule of Skywork-Reward-V2
    (Liu et al. 2025): a trusted judge, and one of two others; what people decided stands.
    """

    version = 2
    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)

    all_of: tuple[str, ...] = Field((), description="judges that must all agree")
    any_of: tuple[str, ...] = Field((), description="judges of which one must agree")
    at_least: float = Field(0.0, ge=0, allow_inf_nan=False, description="smallest margin, each")
    flip: bool = Field(False, description="turn the pairs that pass the other way round")
    decided_by: tuple[str, ...] = Field((), description="judges whose pairs stay as they are")

    @model_validator(mode="after")
    def _somebody(self) -> Verify:
        if not self.all_of and not self.any_of:
            raise ValueError("name at least one judge in all_of or any_of")
        return self

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons."""
        pairs = read_pairs(view)
        judgments = of_view(view, (*self.all_of, *self.any_of, *self.decided_by))
        margins = pair_votes(
            judgments, pairs.chosen, pairs.rejected, int(pairs.counts.sum())
        ).margin
        all_of, any_of = (by_name(judgments.judges, margins, n) for n in (self.all_of, self.any_of))
        decided = ~np.isnan(by_name(judgments.judges, margins, self.decided_by)).all(axis=1)
        kept = agreed(all_of, any_of, self.at_least) | decided
        values = pairs.values
        if self.flip:
            turn = pairs.live & ~decided & agreed(-all_of, -any_of, self.at_least)
            values = flip(values, turn)
            ctx.counts["flipped"] += int(turn.sum())
            kept |= turn
        return edited(pairs, values, [(~kept, "not verified by the judges")])


class RankConsistency(Stage, name="rank_consistency"):
    """Set p_correct to how well two judges' rankings of a prompt's answers agree.

    (tau + 1) / 2 with Kendall's tau-b: 1 for equal rankings, 0.5 for unrelated ones (CREAM, Wang
    et al. 2024, whose two judges are a model's present and past self). Near 0.5 a pair carries
    no direction, so pairs below `at_least` are dropped, and those of prompts where it is not
    known because fewer than two answers have both scores. An empty `first` stands for `scores`.
    """

    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)

    first: str = Field("", description="a judge; empty: the combined scores")
    second: str = Field(description="another judge")
    at_least: float = Field(0.6, ge=0, le=1, description="smallest consistency kept")

    def needed(self) -> tuple[str, ...]:
        """Need `scores` too where they are compared."""
        return self.needs if self.first else (*self.needs, "scores")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with p_correct and reasons."""
        pairs = read_pairs(view)
        names = tuple(name for name in (self.first, self.second) if name)
        judgments = of_view(view, names)
        rankings = [judge_scores(judgments, name, int(pairs.counts.sum())) for name in names]
        if not self.first:
            rankings.insert(0, aligned_scores(view["scores"], pairs.counts))
        consistency = (rank_agreement(pairs.counts, *rankings) + 1.0) / 2.0
        p = consistency[pairs.row]
        values = set_floats(pairs.values, "p_correct", p, ~np.isnan(p))
        low = ~(p >= self.at_least - 1e-9)
        masks = [(low, f"rank consistency below {self.at_least}")]
        return edited(pairs, values, masks)


def judge_scores(judgments: Judgments, judge: str, candidates: int) -> Floats:
    """Return (candidates,) one judge's mean score of each, NaN where it gave none."""
    return of_judge(judge, judge_cells(judgments, candidates), judgments.judges, candidates)
