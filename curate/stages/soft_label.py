"""Margins to soft labels: how sure to be of a pair, and which pairs to turn round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Floats, one_chunk
from curate.methods.crowd import label_reliability, logistic, vote_share
from curate.methods.judgments import codes, of_view
from curate.methods.noise import smoothing_threshold, strength_bands
from curate.methods.votes import pair_votes
from curate.stage import Context, Result, Scope
from curate.stages.judge_tables import kept_tables, table_in
from curate.stages.pair_edits import edited, flip, read_pairs, set_floats
from curate.stages.reduced import Reduced, Values


class SoftLabel(Reduced, name="soft_label"):
    """Write `p_correct` into the pairs from their margins.

    "logistic": the probability of a Bradley-Terry model, s(margin / temperature).
    "reliability": the same odds times those that the pair's source labels rightly, a share that
    is learnt from the set (see `crowd.label_reliability`): noise in existing labels, judged by
    margins that did not come from them. "smooth": 1 - smoothing for the `share` of pairs with
    the least margin (SPA, Kim et al. 2025), 1 for the others that have none yet. A pair without
    a margin, or already dropped, is left as it is. Margins must be log-odds at that temperature to
    mean what p_correct says: fit the temperature on labelled pairs.
    """

    version = 2
    needs = ("candidates", "pairs")
    writes = ("pairs",)

    method: Literal["logistic", "reliability", "smooth"] = Field(
        "logistic", description="how margins become probabilities"
    )
    temperature: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="margin that is one unit of log-odds"
    )
    reliability: float = Field(
        0.8, ge=0.5, lt=1, description="reliability: share of right labels to start from"
    )
    share: float = Field(0.1, gt=0, lt=1, description="smooth: share of pairs with soft labels")
    smoothing: float = Field(0.1, ge=0, le=0.5, description="smooth: chance of the other label")

    def view_scope(self) -> Scope:
        """See every shard where the set itself sets the scale."""
        return "shard" if self.method == "logistic" else "dataset"

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the pairs' margins, what they have for a p_correct, and their sources."""
        pairs = read_pairs(view)
        return {
            "margin": np.where(pairs.live, pairs.floats("margin"), np.nan),
            "p": pairs.floats("p_correct"),
            "source": pc.struct_field(pairs.values, "source"),
        }

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the p_correct of each pair that gets one, NaN for the others."""
        margin = np.asarray(found["margin"])
        known = ~np.isnan(margin)
        if self.method == "logistic":
            p = logistic(margin / self.temperature)
        elif self.method == "reliability":
            p = self._reliability(one_chunk(found["source"]), margin / self.temperature, ctx)
        else:
            soft = margin < smoothing_threshold(margin, self.share)
            known &= soft | np.isnan(np.asarray(found["p"]))
            p = np.where(soft, 1.0 - self.smoothing, 1.0)
        return {"p": np.where(known, p, np.nan)}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs with p_correct."""
        pairs, p = read_pairs(view), np.asarray(decided["p"])
        return edited(pairs, set_floats(pairs.values, "p_correct", p, ~np.isnan(p)))

    def _reliability(self, source: pa.Array, margin: Floats, ctx: Context) -> Floats:
        """Learn one share of right labels for each source: sources differ in how noisy they are."""
        of, sources = codes(source)
        p = np.full(len(margin), np.nan)
        for code, source in enumerate(sources):
            at = np.flatnonzero((of == code) & ~np.isnan(margin))
            p[at], share = label_reliability(margin[at], self.reliability)
            if len(at):
                ctx.counts[f"right labels of {source or 'unnamed source'}, percent"] = round(
                    100 * share
                )
        return p


class Bands(Reduced, name="bands"):
    """Sort pairs by how strongly several judges prefer the chosen answer, and treat each band.

    Pairs that are likely mislabelled are turned round, clearly so ones only; doubtful and strong
    pairs get the judges' smoothed vote share as `p_correct`, the one because it is unclear, the
    other because models overfit on it; the rest keeps what it has (Secrets of RLHF II, 2024).
    Every share is an assumption about the set. See `noise.strength_bands`.
    """

    needs = ("candidates", "judgments", "pairs")
    writes = ("pairs",)

    judges: tuple[str, ...] = Field((), description="judges that count; empty: all")
    wrong: float = Field(0.2, ge=0, le=1, description="share of the set to look for wrong labels")
    doubtful: float = Field(0.2, ge=0, le=1, description="share above it that is unclear")
    strong: float = Field(0.1, ge=0, le=1, description="share at the top that is clear")
    certain: float = Field(
        1.0, ge=0, allow_inf_nan=False,
        description="turn a pair only beyond this many deviations over judges",
    )  # fmt: skip

    scope = "dataset"
    version = 2

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return what the judges say about each pair."""
        pairs = read_pairs(view)
        judgments = of_view(view, self.judges)
        votes = pair_votes(judgments, pairs.chosen, pairs.rejected, int(pairs.counts.sum()))
        tables = kept_tables(judgments, margin=votes.margin, leaning=votes.leaning)
        return {"live": pairs.live, **tables}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the band of each pair, and its p_correct, NaN where it stays as it is."""
        live = np.asarray(found["live"])
        margin = np.where(live[:, None], table_in(found, "margin"), np.nan)
        bands = strength_bands(
            margin, wrong=self.wrong, doubtful=self.doubtful, strong=self.strong,
            certain=self.certain,
        )  # fmt: skip
        for name, band in bands._asdict().items():
            ctx.counts[f"{name} pairs"] = int(band.sum())
        share, _ = vote_share(table_in(found, "leaning"))
        some = np.logical_or.reduce(bands)
        return {"p": np.where(some, share, np.nan), "wrong": bands.wrong}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs, turned and softened."""
        pairs, p = read_pairs(view), np.asarray(decided["p"])
        values = set_floats(pairs.values, "p_correct", p, ~np.isnan(p))
        return edited(pairs, flip(values, np.asarray(decided["wrong"])))
