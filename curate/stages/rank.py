"""Comparisons to scores, as a stage."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import Floats, Ints, lengths
from curate.methods.cells import judge_cells
from curate.methods.games import games_of
from curate.methods.judgments import Judgments, of_view, select
from curate.methods.ranking import bradley_terry, games_of_scores, largest_component, ranked_pairs
from curate.stage import Context, Result, Stage
from curate.stages.combine import score_lists


class Rank(Stage, name="rank"):
    """Turn comparisons into `scores`, and their deviations into `score_std`.

    Every usable call is a game, a tie half a win for each side. "bradley_terry": scores are
    log-odds; see `bradley_terry`. "ranked_pairs": the score is the share of the other answers
    that an answer stands above once the widest majorities have their way (Tideman 1987), as
    OpenAssistant makes one ranking of several people's; see `ranked_pairs`. Answers that no chain
    of games links to most of the others get null: they have no place on the same scale.
    """

    needs = ("candidates", "judgments")
    writes = ("scores", "score_std")

    judges: tuple[str, ...] = Field((), description="judges that count; empty: all")
    method: Literal["bradley_terry", "ranked_pairs"] = Field(
        "bradley_terry", description="how games become scores; ranked_pairs has no deviation"
    )
    prior: float = Field(
        1.0, gt=0, allow_inf_nan=False,
        description="bradley_terry: deviation of strengths beforehand, log-odds",
    )  # fmt: skip
    scored: bool = Field(
        False, description="judges' scores and rankings count too: a game for every two answers"
    )

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return both columns. Raises StageError for a verdict outside [-1, 1]."""
        counts = lengths(view["candidates"])
        a, b, share = self._games(of_view(view, self.judges), counts)
        std = np.full(int(counts.sum()), np.nan)
        if self.method == "ranked_pairs":
            score, component = ranked_pairs(counts, a, b, share)
        else:
            score, std, component = bradley_terry(counts, a, b, share, prior=self.prior)
        usable = largest_component(counts, component)
        ctx.counts["answers without a rank"] += int((~usable).sum())
        score, std = (np.where(usable, v, np.nan) for v in (score, std))
        return {"scores": score_lists(counts, score), "score_std": score_lists(counts, std)}

    def _games(self, judgments: Judgments, counts: Ints) -> tuple[Ints, Ints, Floats]:
        """Return both answers (flat) of each game, and how much of it the first one won."""
        _, a, b, share = games_of(judgments)
        if not self.scored:
            return a, b, share
        scoring = select(judgments, np.flatnonzero(~judgments.compares))
        cells = judge_cells(scoring, int(counts.sum()))
        more = games_of_scores(counts, cells.candidate, cells.judge, cells.mean)
        return (
            np.concatenate([a, more[0]]),
            np.concatenate([b, more[1]]),
            np.concatenate([share, more[2]]),
        )
