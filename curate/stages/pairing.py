"""Scored candidates to pairs of a chosen and a rejected answer."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Column, flat, lengths, lists, owners, structs
from curate.errors import StageError
from curate.schema import DROP, PAIR
from curate.stage import Context, Result, Stage

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

TOLERANCE = 1e-5
"""Share of a threshold within which a margin counts as equal to it. Scores are float32 means:
4.3333335 - 3.3333333 must not be more than 1, nor 3.6666667 - 2.6666667 less."""

FEW = "no pair: fewer than two scored candidates"
EQUAL = "no pair: all scores equal"
IDENTICAL = "no pair: identical texts"


def best_worst(counts: Ints, scores: Floats) -> tuple[Ints, Ints]:
    """Return each row's best and worst candidate (local indexes), -1 where all scores are equal.

    `counts` (rows,) candidates a row; `scores` (candidates,) with NaN for those that must not be
    used. Strict: a row with fewer than two scores, or with equal ones, gives -1. Among equal
    bests, and among equal worsts, the lowest index wins. This is the max-min pairing of the
    RLHF Workflow (Dong et al., 2024).
    """
    best = np.full(len(counts), -1, dtype=np.int64)
    worst = best.copy()
    filled = np.flatnonzero(counts)
    if not len(filled):
        return best, worst
    starts = (np.cumsum(counts) - counts)[filled]
    local = np.arange(len(scores)) - np.repeat(starts, counts[filled])
    absent = np.isnan(scores)
    high = np.maximum.reduceat(np.where(absent, -np.inf, scores), starts)
    low = np.minimum.reduceat(np.where(absent, np.inf, scores), starts)
    beyond = len(scores)
    for out, extreme in ((best, high), (worst, low)):
        at = np.where(scores == np.repeat(extreme, counts[filled]), local, beyond)
        out[filled] = np.where(high > low, np.minimum.reduceat(at, starts), -1)
    return best, worst


def all_pairs(counts: Ints, scores: Floats, at_least: float = 0.0) -> tuple[Ints, Ints, Ints]:
    """Return (row, chosen, rejected) of every pair whose score gap is above `at_least`.

    Arguments as in `best_worst`; the indexes are local to the row, in order of row, chosen,
    rejected. The gap is strict, as in COIG-P (2025): a gap equal to the threshold is dropped.
    """
    rows = owners(counts)
    usable = np.flatnonzero(~np.isnan(scores))
    row, value = rows[usable], scores[usable]
    local = usable - (np.cumsum(counts) - counts)[row]
    size = np.bincount(row, minlength=len(counts))
    starts = np.cumsum(size) - size
    fan = size[row]  # each usable candidate meets every usable candidate of its row
    left = np.repeat(np.arange(len(usable)), fan)
    right = np.arange(len(left)) - np.repeat(np.cumsum(fan) - fan - starts[row], fan)
    margin = value[left] - value[right]
    keep = np.flatnonzero(margin > at_least + TOLERANCE * abs(at_least))
    left, right = left[keep], right[keep]
    return row[left], local[left], local[right]


def largest(row: Ints, margin: Floats, most: int) -> Ints:
    """Return the places of each row's `most` pairs of largest margin, in ascending order.

    `row` (pairs,) is sorted; between equal margins the earlier pair wins.
    """
    order = np.lexsort((-margin, row))  # stable: equal margins keep their order
    size = np.bincount(row)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    return np.asarray(np.sort(order[rank < most]), dtype=np.int64)


def gap_confirmation(scores: npt.ArrayLike, gap: float) -> float:
    """Return how often a gap in one score is confirmed by the other scores.

    `scores` is (prompts, candidates, k) with k >= 2 independent scores of each candidate. Of
    all unordered pairs of candidates of one prompt whose first scores differ by `gap` or more,
    the share in which the means of the other k - 1 scores differ in the same direction; equal
    means do not confirm. A pair with a missing (NaN) score is left out. Raises ValueError where
    no pair has that gap, or the shape is wrong.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or values.shape[2] < 2:
        raise ValueError(f"scores must be (prompts, candidates, k >= 2), not {values.shape}")
    i, j = np.triu_indices(values.shape[1], 1)
    first = values[:, i, 0] - values[:, j, 0]
    others = (values[:, i, 1:] - values[:, j, 1:]).sum(axis=2)
    wide = (np.abs(first) >= gap) & (first != 0) & ~np.isnan(others)
    if not wide.any():
        raise ValueError(f"no pair of candidates has a gap of {gap} or more")
    return float((first * others > 0)[wide].mean())


def aligned_scores(scores: Column, counts: Ints) -> Floats:
    """Return the flat scores as float64, null as NaN. Raises StageError if not `counts` a row."""
    sizes = lengths(scores)
    if not np.array_equal(sizes, counts):
        row = int(np.flatnonzero(sizes != counts)[0])
        raise StageError(
            f"row {row} has {counts[row]} candidates but {sizes[row]} scores; "
            "run `combine` again after the stage that changed the candidates"
        )
    values = flat(scores).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)


def usable_scores(view: pa.Table) -> tuple[Ints, Floats, pa.Array]:
    """Return candidates a row, their scores (NaN where dropped or without a text), their texts."""
    counts = lengths(view["candidates"])
    scores = aligned_scores(view["scores"], counts)
    texts = flat(view["candidates"], "text")
    out = pc.or_(pc.is_valid(flat(view["candidates"], "drop")), pc.is_null(texts))
    scores = np.where(np.asarray(out.to_numpy(zero_copy_only=False), dtype=bool), np.nan, scores)
    return counts, scores, texts


def same_text(texts: pa.Array, first: Ints, second: Ints) -> Bools:
    """Return where texts[first] equals texts[second]; texts are read only if equally long."""
    size = np.asarray(pc.fill_null(pc.binary_length(texts), -1))
    same: Bools = np.asarray(size[first] == size[second])
    at = np.flatnonzero(same)
    equal = pc.equal(texts.take(pa.array(first[at])), texts.take(pa.array(second[at])))
    same[at] = np.asarray(pc.fill_null(equal, False).to_numpy(zero_copy_only=False), dtype=bool)
    return same


def _result(
    source: str, counts: Ints, scores: Floats, found: tuple[Ints, Ints, Ints], why: pa.Array
) -> Result:
    """Build the pairs from (row, chosen, rejected); rows without one are dropped for `why`."""
    row, chosen, rejected = found
    starts = np.cumsum(counts) - counts
    margin = scores[starts[row] + chosen] - scores[starts[row] + rejected]
    pairs = structs(
        PAIR, len(row), chosen=chosen, rejected=rejected, margin=margin.astype(np.float32),
        source=source,
    )  # fmt: skip
    n = np.bincount(row, minlength=len(counts))
    dropped = pc.if_else(pa.array(n == 0), why, pa.scalar(None, pa.string()))
    return {"pairs": lists(n, pairs), DROP: dropped}


def _why(counts: Ints, scores: Floats, otherwise: str) -> pa.Array:
    """Return why each row has no pair: too few scores, equal ones, or `otherwise`."""
    scored = np.bincount(owners(counts)[~np.isnan(scores)], minlength=len(counts))
    spread = best_worst(counts, scores)[0] >= 0
    rest = pc.if_else(pa.array(spread), otherwise, EQUAL)
    return pc.if_else(pa.array(scored < 2), FEW, rest)


class BestWorst(Stage, name="best_worst"):
    """Pair each prompt's best answer with its worst.

    Dropped candidates and null scores are skipped. Equal scores give no pair; between several
    best or worst answers the first is taken. Where best and worst are the same text the judges
    contradict themselves, and the row gives no pair. See `best_worst`.
    """

    needs = ("candidates", "scores")
    writes = ("pairs",)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return one pair a row, or an empty list and the reason. Margin in the scores' unit."""
        counts, scores, texts = usable_scores(view)
        best, worst = best_worst(counts, scores)
        starts = np.cumsum(counts) - counts
        row = np.flatnonzero(best >= 0)
        row = row[~same_text(texts, (starts + best)[row], (starts + worst)[row])]
        found = (row, best[row], worst[row])
        return _result(self.kind, counts, scores, found, _why(counts, scores, IDENTICAL))


class AllPairs(Stage, name="all_pairs"):
    """Pair every two answers whose scores are more than `at_least` apart.

    Dropped candidates, null scores and pairs of identical texts are skipped. See `all_pairs`.
    """

    needs = ("candidates", "scores")
    writes = ("pairs",)

    at_least: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="the gap must be more than this"
    )
    most: int | None = Field(None, ge=1, description="pairs a prompt, those of largest margin")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return every pair of a row, or an empty list and the reason."""
        counts, scores, texts = usable_scores(view)
        starts = np.cumsum(counts) - counts
        row, chosen, rejected = all_pairs(counts, scores, self.at_least)
        differ = ~same_text(texts, starts[row] + chosen, starts[row] + rejected)
        row, chosen, rejected = row[differ], chosen[differ], rejected[differ]
        if self.most is not None:
            margin = scores[starts[row] + chosen] - scores[starts[row] + rejected]
            kept = largest(row, margin, self.most)
            row, chosen, rejected = row[kept], chosen[kept], rejected[kept]
        otherwise = f"no pair: no score gap above {self.at_least} between different texts"
        why = _why(counts, scores, otherwise)
        return _result(self.kind, counts, scores, (row, chosen, rejected), why)
