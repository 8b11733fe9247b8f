"""Many judgments to one score a candidate, and how far the judges disagree about it.

Judges differ in how harsh they are and in how much of the scale they use, so their scores can
be standardised before the mean: within each prompt, or over the whole dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Column, flat, lengths, lists, owners
from curate.errors import StageError
from curate.stage import Context, Result, Scope, Stage

Scale: TypeAlias = Literal["none", "prompt", "dataset"]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """Usable judgments, one value each: all arrays have the same length.

    `candidate` indexes the flat candidates, `judge` and `aspect` are dense codes from 0,
    `score` is finite, `spread` is NaN where the judge gave none.
    """

    candidate: Ints
    judge: Ints
    aspect: Ints
    score: Floats
    spread: Floats


def combine_scores(
    evidence: Evidence,
    rows: Ints,
    weights: Floats,
    *,
    scale: Scale = "none",
    min_judges: int = 1,
) -> tuple[Floats, Floats]:
    """Return each candidate's score and its standard deviation, NaN where there is none.

    A judge's samples are averaged within each aspect, then its aspects with equal weight; a
    failed call is simply absent. `scale` turns a judge's scores into z-scores (population
    standard deviation; no variance gives 0) over each prompt or the dataset. The score is the
    weighted mean over judges.

    The deviation is the unweighted population deviation over judges. Where only one judge
    scored the candidate it is that judge's own: the mean spread it reported, else the
    deviation of its repeated samples around their aspects' means, else NaN; divided by the
    same factor as the scores (NaN where they had no variance).

    `rows` (candidates,) is each candidate's prompt, `weights` (judges,) is at least 0; a judge
    of weight 0 is ignored. A candidate scored by fewer than `min_judges` judges gets NaN.
    """
    n, judges = len(rows), len(weights)
    keep = weights[evidence.judge] > 0
    cell_key = evidence.candidate[keep] * judges + evidence.judge[keep]
    cells, of_cell = _group(cell_key, n * judges)
    mean, own = _judge_means(evidence, keep, cells, of_cell)
    candidate, judge = cells // max(judges, 1), cells % max(judges, 1)
    if scale != "none":
        key = judge if scale == "dataset" else rows[candidate] * judges + judge
        mean, own = _standardise(mean, own, key)
    seen = np.bincount(candidate, minlength=n)
    weight = weights[judge]
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.bincount(candidate, weight * mean, n) / np.bincount(candidate, weight, n)
        centre = np.bincount(candidate, mean, n) / seen
        squared = np.bincount(candidate, (mean - centre[candidate]) ** 2, n)
        std = np.sqrt(squared / seen)
        alone = np.bincount(candidate, own, n)  # NaN where the only judge gave no deviation
    std = np.where(seen == 1, alone, std)
    missing = seen < max(min_judges, 1)
    score[missing] = std[missing] = np.nan
    return score, std


def _judge_means(
    evidence: Evidence, keep: npt.NDArray[np.bool_], cells: Ints, of_cell: Ints
) -> tuple[Floats, Floats]:
    """Return each (candidate, judge) cell's mean score and the judge's own deviation."""
    score, spread = evidence.score[keep], evidence.spread[keep]
    n, aspects = len(cells), int(evidence.aspect.max(initial=0)) + 1
    groups, of_group = _group(of_cell * aspects + evidence.aspect[keep], n * aspects)
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


def _standardise(values: Floats, deviations: Floats, key: Ints) -> tuple[Floats, Floats]:
    """Return z-scores within each key, and the deviations in the same unit."""
    groups, of = _group(key, int(key.max(initial=-1)) + 1)
    size = np.bincount(of, minlength=len(groups))
    centred = values - (np.bincount(of, values, len(groups)) / size)[of]
    std = np.sqrt(np.bincount(of, centred**2, len(groups)) / size)
    # Equal scores can leave rounding behind: without this their z-scores would be +-1.
    magnitude = np.sqrt(np.bincount(of, values**2, len(groups)) / size)
    flat_ = (std <= 1e-12 * magnitude)[of]
    divisor = np.where(flat_, 1.0, std[of])
    return np.where(flat_, 0.0, centred / divisor), np.where(flat_, np.nan, deviations / divisor)


def _group(key: Ints, size: int) -> tuple[Ints, Ints]:
    """Return the sorted distinct keys (all in [0, size)) and each key's place among them."""
    if size > 8 * len(key) + 1024:  # sparse: sorting is cheaper than a table over all keys
        distinct, places = np.unique(key, return_inverse=True)
        return distinct, places.reshape(-1)
    present = np.zeros(size, dtype=bool)
    present[key] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[key]


def _codes(names: pa.Array) -> tuple[Ints, list[str]]:
    """Return codes into the sorted distinct names, so that a sum's order is the names' order."""
    encoded = pc.fill_null(names, "").dictionary_encode()
    known = encoded.dictionary.to_pylist()
    order = sorted(range(len(known)), key=known.__getitem__)
    rank = np.empty(len(known), dtype=np.int64)
    rank[order] = np.arange(len(known))
    return rank[np.asarray(encoded.indices)], [known[i] for i in order]


def read_judgments(
    judgments: Column, counts: Ints, judges: tuple[str, ...] = ()
) -> tuple[Evidence, list[str]]:
    """Return the usable judgments and the judges' names by code.

    Usable is a judgment with status ok and a finite score, of a judge in `judges` (empty: all).
    `counts` (rows,) is the number of candidates a row. A comparison counts twice: its score
    for candidate a, its negative for b; so a comparing judge's score of a candidate is the
    mean of its signed comparisons. Raises StageError where an index is out of range, or where
    one judge's name stands for both scores and comparisons.
    """
    sizes = lengths(judgments)
    row = owners(sizes)
    score = _floats(flat(judgments, "score"))
    usable = _true(pc.equal(flat(judgments, "status"), "ok")) & np.isfinite(score)
    if judges:
        usable &= _true(pc.is_in(flat(judgments, "judge"), pa.array(judges, pa.string())))
    chosen = np.flatnonzero(usable)
    index = pa.array(chosen)
    a = _floats(flat(judgments, "a").take(index))
    b = _floats(flat(judgments, "b").take(index))
    judge, names = _codes(flat(judgments, "judge").take(index))
    aspect, _ = _codes(flat(judgments, "aspect").take(index))
    spread = _floats(flat(judgments, "spread").take(index))
    row, score = row[chosen], score[chosen]
    compares = ~np.isnan(b)
    limit = counts[row]
    if not ((a >= 0) & (a < limit) & (~compares | ((b >= 0) & (b < limit)))).all():
        raise StageError("a judgment's a or b is no index of its row's candidates")
    mixed = np.intersect1d(judge[compares], judge[~compares])
    if len(mixed):
        raise StageError(
            f"judge {names[int(mixed[0])]!r} gives both scores and comparisons; "
            "give them different names"
        )
    starts = np.cumsum(counts) - counts
    twice = np.flatnonzero(compares)
    evidence = Evidence(
        candidate=np.concatenate([starts[row] + a.astype(np.int64), _at(starts, row, b, twice)]),
        judge=np.concatenate([judge, judge[twice]]),
        aspect=np.concatenate([aspect, aspect[twice]]),
        score=np.concatenate([score, -score[twice]]),
        spread=np.concatenate([spread, spread[twice]]),
    )
    return evidence, names


def _at(starts: Ints, row: Ints, local: Floats, where: Ints) -> Ints:
    return np.asarray(starts[row[where]] + local[where].astype(np.int64), dtype=np.int64)


def _floats(array: pa.Array) -> Floats:
    """Return the values as float64, null as NaN."""
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _true(mask: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)


def score_lists(counts: Ints, values: npt.NDArray[Any]) -> pa.Array:
    """Return list<float32> with `counts` values a row; NaN becomes null."""
    return lists(counts, pa.array(values.astype(np.float32), mask=np.isnan(values)))


class Combine(Stage, name="combine"):
    """Combine the judgments of each candidate into `scores` and `score_std`.

    Only judgments with status ok count; a candidate with none gets a null score. Judges that
    use different ranges (1-5 and 1-10, or scores and comparisons) need `scale: prompt` or
    `scale: dataset`. See `combine_scores` for the arithmetic.
    """

    needs = ("candidates", "judgments")
    writes = ("scores", "score_std")

    judges: tuple[str, ...] = Field((), description="judges that count; empty: all")
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="weight by judge; 1 where not named, 0 to leave it out"
    )
    scale: Scale = Field("none", description="z-score each judge within the prompt or dataset")
    min_judges: int = Field(1, ge=1, description="fewer judges than this: a null score")

    def view_scope(self) -> Scope:
        """See every shard only where the scale is the dataset's."""
        return "dataset" if self.scale == "dataset" else "shard"

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return both columns. Raises StageError for judgments that cannot be combined."""
        counts = lengths(view["candidates"])
        evidence, names = read_judgments(view["judgments"], counts, self.judges)
        weights = np.array([self.weights.get(name, 1.0) for name in names], dtype=np.float64)
        score, std = combine_scores(
            evidence, owners(counts), weights, scale=self.scale, min_judges=self.min_judges
        )
        return {"scores": score_lists(counts, score), "score_std": score_lists(counts, std)}
