"""What each judge says about a pair of answers: margins, votes, and votes by order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from curate.arrays import Bools, Floats, Ints
from curate.methods.cells import judge_cells
from curate.methods.crowd import logistic, row_sums
from curate.methods.ensemble import group
from curate.methods.judgments import Judgments, named, select

EQUAL = 1e-9
"""Scores nearer than this are equal: means of the same marks can differ in the last bit."""


class PairVotes(NamedTuple):
    """One column a judge, NaN where the judge does not say; + favours the first answer.

    All are (pairs, judges).
    """

    margin: Floats
    """First less second: of a scoring judge its mean scores, of a comparing judge the mean of
    its verdicts (the mean of both orders, where there are two). Samples are averaged within each
    aspect, then the aspects. Exactly 0 is a tie."""
    vote: Floats
    """In [-1, 1]: the sign of a margin in scores or log-odds; a margin in grades as it is, so
    that a slight win, or one in one order only, is half a vote more than a tie."""
    forward: Floats
    """A comparing judge's mean verdict where the first answer was shown first."""
    backward: Floats
    """The same where the second answer was shown first."""
    spread: Floats
    """A scoring judge's own standard deviation of its margin, where it is known."""
    log_odds: Bools
    """(judges,) whose margins are log-odds."""

    @property
    def probability(self) -> Floats:
        """How likely the first answer is better, in each judge's own view.

        The logistic function of log-odds, else (1 + vote) / 2; NaN where the judge is silent.
        """
        return np.where(self.log_odds, logistic(self.margin), 0.5 + 0.5 * self.vote)

    @property
    def leaning(self) -> Floats:
        """How far each judge leans to the first answer, in [-1, 1]: 2 `probability` - 1."""
        return np.where(self.log_odds, np.tanh(0.5 * self.margin), self.vote)


def pair_votes(judgments: Judgments, first: Ints, second: Ints, candidates: int) -> PairVotes:
    """Return what the judges say about the pairs of flat candidates `first` and `second` (pairs,).

    Each pair counts for itself: the same two answers may be asked about twice, or turned round.
    Memory is 8 bytes a pair and judge for each of the five tables.
    """
    shape = (len(first), len(judgments.judges))
    margin, forward, backward, spread = (np.full(shape, np.nan) for _ in range(4))
    compares = judgments.compares
    if not compares.all():
        scoring = select(judgments, np.flatnonzero(~compares))
        margin, spread = _score_margins(scoring, first, second, candidates)
    if compares.any():
        comparing = select(judgments, np.flatnonzero(compares))
        found, forward, backward = _verdicts(comparing, first, second, candidates)
        margin = np.where(np.isnan(found), margin, found)
    margin = np.where(np.abs(margin) <= EQUAL, 0.0, margin)
    graded = np.bincount(judgments.judge[compares], minlength=shape[1]) > 0
    odds = judgments.in_log_odds
    vote = np.where(graded & ~odds, np.clip(margin, -1.0, 1.0), np.sign(margin))
    return PairVotes(margin, vote, forward, backward, spread, odds)


def unselected(judgments: Judgments, counts: Ints, reach: int = 3) -> tuple[Ints, Ints]:
    """Return pairs (first, second) of flat candidates that were not picked for their votes.

    Those of a row that are at most `reach` apart in its list, and those that some judge
    compared; each once. `counts` (rows,) is the number of candidates a row.
    """
    n = int(counts.sum())
    index = np.arange(n)
    left = np.repeat(np.cumsum(counts), counts) - index - 1  # candidates that follow in the row
    near = [index[left >= step] * (n + 1) + step for step in range(1, reach + 1)]
    key = np.concatenate([*near, index[:0]])
    compared = judgments.compares
    if compared.any():
        low = np.minimum(judgments.a, judgments.b)[compared]
        high = np.maximum(judgments.a, judgments.b)[compared]
        key = np.concatenate([key, low * n + high])
    key = np.unique(key)  # row by row, so that shards' pairs follow each other
    return key // max(n, 1), key % max(n, 1)


def order_consistency(votes: PairVotes) -> tuple[Floats, Floats]:
    """Return (pairs,) the share of judges whose two orders agree, and how many gave both.

    Agree means the same sign, ties included (MT-Bench, Zheng et al. 2023). NaN where no judge
    gave both orders.
    """
    both = ~np.isnan(votes.forward) & ~np.isnan(votes.backward)
    same = both & (np.sign(votes.forward) == np.sign(votes.backward))
    n = both.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return same.sum(axis=1) / n, n.astype(np.float64)


def by_name(judges: Sequence[str], margins: Floats, names: Sequence[str]) -> Floats:
    """Return (pairs, names) the margins of whom each name stands for; NaN for nobody.

    `margins` is (pairs, judges). Several judges of one name, such as people, are one voter: the
    mean of those that speak.
    """
    columns = [np.empty((len(margins), 0))]
    for name in names:
        mine = margins[:, [judges.index(judge) for judge in named(judges, [name])]]
        with np.errstate(invalid="ignore", divide="ignore"):
            columns.append((row_sums(mine) / (~np.isnan(mine)).sum(axis=1))[:, None])
    return np.hstack(columns)


def _score_margins(
    judgments: Judgments, first: Ints, second: Ints, candidates: int
) -> tuple[Floats, Floats]:
    """Return (pairs, judges) the differences of mean scores, and their deviations."""
    cells, judges = judge_cells(judgments, candidates), len(judgments.judges)
    key = cells.candidate * judges + cells.judge
    dense = candidates * judges <= 8 * len(key) + 1024

    def ends(values: Floats) -> tuple[Floats, Floats]:
        if not dense:
            wanted = [end[:, None] * judges + np.arange(judges) for end in (first, second)]
            return _lookup(key, values, wanted[0]), _lookup(key, values, wanted[1])
        table = np.full(candidates * judges, np.nan)
        table[key] = values
        by_candidate = table.reshape(candidates, judges)
        return by_candidate[first], by_candidate[second]

    one, two = ends(cells.mean)
    if np.isnan(cells.own).all():
        return one - two, np.full(one.shape, np.nan)
    return one - two, np.hypot(*ends(cells.own))


def _lookup(keys: Ints, values: Floats, wanted: Ints) -> Floats:
    """Return the value of each wanted key, NaN where there is none; `keys` are sorted."""
    if not len(keys):
        return np.full(wanted.shape, np.nan)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], np.nan)


def _verdicts(
    judgments: Judgments, first: Ints, second: Ints, candidates: int
) -> tuple[Floats, Floats, Floats]:
    """Return mean verdicts: over both orders, with the first shown first, and shown second."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    known, of_pair = np.unique(low * candidates + high, return_inverse=True)
    judges, calls = len(judgments.judges), judgments
    asked = np.minimum(calls.a, calls.b) * candidates + np.maximum(calls.a, calls.b)
    at = np.searchsorted(known, asked)
    hit: Bools = np.append(known, -1)[at] == asked
    # Seen from the lower candidate; a pair that names the higher one first turns the sign.
    sign = np.where(calls.a < calls.b, 1.0, -1.0)[hit]
    shown = calls.order[hit] * sign  # 1: the lower candidate was shown first
    cell = at[hit] * judges + calls.judge[hit]
    value = sign * calls.score[hit]
    size = len(known) * judges
    parts, aspect = (shown > 0, shown < 0, shown == 0), calls.aspect[hit]
    aspects = max(len(calls.aspects), 1)
    means = [_mean(cell[part], aspect[part], aspects, value[part], size) for part in parts]
    tables = [m.reshape(len(known), judges)[of_pair.reshape(-1)] for m in means]
    turned = (first > second)[:, None]
    lower_first, lower_second, unknown = (np.where(turned, -t, t) for t in tables)
    here = [~np.isnan(t) for t in (lower_first, lower_second, unknown)]
    total = sum(np.nan_to_num(t) for t in (lower_first, lower_second, unknown))
    with np.errstate(invalid="ignore", divide="ignore"):
        overall = total / (here[0] * 1 + here[1] + here[2])
    forward = np.where(turned, lower_second, lower_first)
    backward = np.where(turned, lower_first, lower_second)
    return overall, forward, backward


def _mean(cell: Ints, aspect: Ints, aspects: int, values: Floats, size: int) -> Floats:
    """Return (size,) each cell's mean over aspects of the mean within the aspect."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if aspects > 1:
            groups, of = group(cell * aspects + aspect, size * aspects)
            values = np.bincount(of, values, len(groups)) / np.bincount(of, minlength=len(groups))
            cell = groups // aspects
        return np.asarray(np.bincount(cell, values, size) / np.bincount(cell, minlength=size))
