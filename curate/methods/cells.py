"""What judges say of an answer: to one number a judge and candidate, then to one for all judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from curate.arrays import Floats, Ints, places_of
from curate.methods.ensemble import Pool, closest, deviation, divided, group, pool, standardise
from curate.methods.judgments import Judgments

Scale: TypeAlias = Literal["none", "prompt", "dataset", "centre", "deviation", "variance"]


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


def of_judge(name: str, cells: Cells, judges: Sequence[str], candidates: int) -> Floats:
    """Return (candidates,) what the cells of one judge say, NaN where it says nothing."""
    found = np.full(candidates, np.nan)
    if name in judges:
        mine = cells.judge == judges.index(name)
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


def scale_cells(cells: Cells, rows: Ints, judges: int, scale: Scale) -> Cells:
    """Return the cells on a common scale.

    "prompt" and "dataset" turn a judge's scores into z-scores over each prompt or the dataset
    (population standard deviation; no variance gives 0). "centre" takes off the judge's mean
    over each prompt's answers, then divides by its deviation of what is left in the dataset:
    rewards are defined up to a constant a prompt, and this keeps how much a prompt's answers
    differ. "deviation" and "variance" divide by the judge's in the dataset and take nothing off:
    for comparisons, whose sign is the message. `rows` (candidates,) is each candidate's prompt.
    """
    if scale == "none":
        return cells
    if scale in ("deviation", "variance"):
        mean, own = divided(cells.mean, cells.own, cells.judge, scale)
        return cells._replace(mean=mean, own=own)
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
    slot = places_of(seen)
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
