"""What each judge says of one answer: samples and aspects to one number a judge and candidate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.methods.ensemble import group
from curate.methods.judgments import Floats, Ints, Judgments


class Cells(NamedTuple):
    """One value for every judge of every candidate, sorted by candidate, then judge."""

    candidate: Ints
    judge: Ints
    mean: Floats
    own: Floats
    """The judge's own deviation: the mean spread it reported, else that of its repeated samples
    around their aspects' means, else NaN."""


def judge_cells(judgments: Judgments, candidates: int) -> Cells:
    """Return each judge's mean score of each candidate.

    Samples are averaged within each aspect, then the aspects with equal weight; a failed call
    is simply absent. A comparison counts twice: its score for candidate a, its negative for b;
    so a comparing judge's score of a candidate is the mean of its signed comparisons.
    """
    j, twice = judgments, np.flatnonzero(judgments.b >= 0)
    candidate, judge, aspect, score, spread = j.a, j.judge, j.aspect, j.score, j.spread
    if len(twice):
        candidate = np.concatenate([j.a, j.b[twice]])
        score = np.concatenate([score, -score[twice]])
        judge, aspect, spread = (np.concatenate([v, v[twice]]) for v in (judge, aspect, spread))
    judges, aspects = max(len(j.judges), 1), max(len(j.aspects), 1)
    key = candidate * judges + judge
    cells, of_cell = group(key, candidates * judges)
    mean, own = np.empty(len(cells)), np.empty(len(cells))
    if len(cells) == len(key):  # every judge was asked once: nothing to average
        mean[of_cell], own[of_cell] = score, spread
    else:
        mean, own = _averages(of_cell, aspect, aspects, score, spread, len(cells))
    of_candidate = cells // judges
    return Cells(of_candidate, cells - of_candidate * judges, mean, own)


def of_judge(name: str, cells: Cells, judgments: Judgments, candidates: int) -> Floats:
    """Return (candidates,) what the cells of one judge say, NaN where it says nothing."""
    found = np.full(candidates, np.nan)
    if name in judgments.judges:
        mine = cells.judge == judgments.judges.index(name)
        found[cells.candidate[mine]] = cells.mean[mine]
    return found


def _averages(
    of_cell: Ints, aspect: Ints, aspects: int, score: Floats, spread: Floats, n: int
) -> tuple[Floats, Floats]:
    """Return each of the `n` cells' mean score and the judge's own deviation."""
    groups, of_group = group(of_cell * aspects + aspect, n * aspects)
    size = np.bincount(of_group, minlength=len(groups))
    group_mean = np.bincount(of_group, score, len(groups)) / np.maximum(size, 1)
    cell_of_group = groups // aspects
    mean = np.bincount(cell_of_group, group_mean, n) / np.bincount(cell_of_group, minlength=n)
    known = ~np.isnan(spread)
    repeated = size[of_group] > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        given = np.bincount(of_cell[known], spread[known], n) / np.bincount(of_cell[known], None, n)
        squared = (score - group_mean[of_group])[repeated] ** 2
        samples = np.bincount(of_cell[repeated], minlength=n)
        sampled = np.sqrt(np.bincount(of_cell[repeated], squared, n) / samples)
    return mean, np.where(np.isnan(given), sampled, given)
