"""Pairwise judging by a schedule: fewer calls than comparing every two answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import concat_lists, flat, lengths, lists, mix, owners, starts_of, structs
from curate.engines.contract import Capability
from curate.methods.crowd import logistic
from curate.methods.judgments import LOG_ODDS, true
from curate.methods.schedules import Game, Pair, Schedule, next_round
from curate.schema import JUDGMENTS, PAIR
from curate.stage import Context, Result, Stage
from curate.stages.judge_pairs import JudgePairs
from curate.stages.live import live_candidates


class Tournament(Stage, name="tournament"):
    """Append pairwise judgments of the comparisons that a schedule asks for, in both orders.

    `judge` says how two answers are compared, as in `judge_pairs`; the schedule says which. k
    answers cost k(k-1) calls round-robin, 2(k-1) by knock-out (finds the best) or against a
    baseline, and about k log2(k) by Swiss rounds (finds best and worst; the default). Each round
    is one batch over the shard. Make scores of the judgments with `rank`.
    """

    judge: JudgePairs
    """How to compare two answers: the fields of `judge_pairs`."""
    schedule: Schedule = "swiss"
    """round_robin, swiss, knockout or baseline."""
    rounds: int | None = Field(default=None, ge=1)
    """swiss: how many rounds; ceil(log2 k) where not given."""
    baseline: str | None = None
    """baseline: the model whose answer the others meet; a prompt without one is not judged."""

    version = 2
    appends = ("judgments",)
    seeded = True

    @model_validator(mode="after")
    def _consistent(self) -> Tournament:
        if (self.schedule == "baseline") != (self.baseline is not None):
            raise ValueError("schedule: baseline and the field baseline need each other")
        if self.rounds is not None and self.schedule != "swiss":
            raise ValueError("rounds is for schedule: swiss")
        return self

    def needed(self) -> tuple[str, ...]:
        """What the judge needs."""
        return self.judge.needed()

    def used(self) -> tuple[str, ...]:
        """What the judge uses but the pairs, which the schedule makes."""
        return tuple(name for name in self.judge.used() if name != "pairs")

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """The judge's."""
        return self.judge.engine_roles()

    def identity(self) -> dict[str, Any]:
        """The fields, with the judge's own identity."""
        return super().identity() | {"judge": self.judge.identity()}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the judgments of all rounds. Raises StageError above the judge's error rate."""
        view = view.select([name for name in view.column_names if name != "pairs"])
        players = self._players(view, ctx)
        baselines = self._baselines(view, players)
        played: list[list[list[Game]]] = [[] for _ in players]
        asked = [pa.array([[]] * len(view), JUDGMENTS)]
        while True:
            pairs = [
                next_round(self.schedule, row, games, rounds=self.rounds, baseline=first)
                for row, games, first in zip(players, played, baselines, strict=True)
            ]
            if not any(pairs):
                return {"judgments": reduce(concat_lists, asked)}
            table = view.append_column("pairs", _pairs_column(pairs))
            found = self.judge.apply(table, ctx)["judgments"]
            asked.append(found)
            for games, results in zip(played, _results(found, pairs), strict=True):
                games.append(results)

    def _players(self, view: pa.Table, ctx: Context) -> list[list[int]]:
        """Return each row's live candidates in an order drawn by lot."""
        live = live_candidates(view["candidates"])
        lot = mix(ctx.row_seeds(view["id"], "tournament")[live.row], live.place)
        order = np.lexsort((live.place, lot, live.row))
        drawn = np.split(live.place[order], np.cumsum(live.counts)[:-1])
        return [row.tolist() for row in drawn[: len(view)]]

    def _baselines(self, view: pa.Table, players: Sequence[Sequence[int]]) -> list[int | None]:
        """Return each row's first live candidate by the baseline model."""
        if self.baseline is None:
            return [None] * len(players)
        counts = lengths(view["candidates"])
        mine = pc.equal(flat(view["candidates"], "model"), self.baseline)
        is_own = true(mine)
        starts = starts_of(counts).tolist()
        return [
            min((place for place in row if is_own[start + place]), default=None)
            for row, start in zip(players, starts, strict=True)
        ]


def _pairs_column(pairs: Sequence[Sequence[Pair]]) -> pa.Array:
    """Return the comparisons as live pairs, which is what the judge looks at."""
    both = np.array([pair for row in pairs for pair in row], dtype=np.int64).reshape(-1, 2)
    chosen, rejected = pa.array(both[:, 0]), pa.array(both[:, 1])
    values = structs(PAIR, len(both), chosen=chosen, rejected=rejected)
    return lists([len(row) for row in pairs], values)


def _results(judgments: pa.Array, pairs: Sequence[Sequence[Pair]]) -> list[list[Game]]:
    """Return each row's games: the mean share of the win over a comparison's usable verdicts."""
    shares: dict[tuple[int, int, int], list[float]] = {}
    columns = [flat(judgments, name).to_pylist() for name in ("a", "b", "score", "status", "scale")]
    rows = owners(lengths(judgments)).tolist()
    for row, a, b, score, status, scale in zip(rows, *columns, strict=True):
        if status == "ok" and score is not None:
            share = float(logistic(score)) if scale == LOG_ODDS else 0.5 + 0.5 * score
            shares.setdefault((row, a, b), []).append(share)
    games = []
    for row, asked in enumerate(pairs):
        found = [(a, b, shares.get((row, a, b))) for a, b in asked]
        games.append([Game(a, b, sum(s) / len(s) if s else None) for a, b, s in found])
    return games
