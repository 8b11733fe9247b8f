"""Row-local filters on scores and pairs: how far apart, how certain, how good."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import Column, flat, lengths, lists, owners, set_field
from curate.errors import StageError
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.pairing import TOLERANCE, aligned_scores

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def below(values: Floats, threshold: float) -> Bools:
    """Return where a float32 value is below the threshold by more than rounding; NaN: false."""
    return np.asarray(values < threshold - TOLERANCE * abs(threshold))


def above(values: Floats, threshold: float) -> Bools:
    """Return where a float32 value is above the threshold by more than rounding; NaN: false."""
    return np.asarray(values > threshold + TOLERANCE * abs(threshold))


def mean_scores(judgments: Column, counts: Ints) -> Floats:
    """Return each candidate's mean over its pointwise judgments with status ok; NaN without any.

    `counts` (rows,) is the number of candidates a row. Raises StageError for a judgment of a
    candidate that its row does not have.
    """
    ok = pc.and_(
        pc.equal(flat(judgments, "status"), "ok"), pc.is_null(flat(judgments, "b"))
    ).to_numpy(zero_copy_only=False)
    score, a = _floats(flat(judgments, "score")), _floats(flat(judgments, "a"))
    keep = np.flatnonzero((np.asarray(ok) == True) & np.isfinite(score))  # noqa: E712 - null
    row, a, score = owners(lengths(judgments))[keep], a[keep], score[keep]
    if not ((a >= 0) & (a < counts[row])).all():
        raise StageError("a judgment's a is no index of its row's candidates")
    at = (np.cumsum(counts) - counts)[row] + a.astype(np.int64)
    n = int(counts.sum())
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(at, score, n) / np.bincount(at, minlength=n))


class Margin(Stage, name="margin"):
    """Drop pairs whose scores are too close, too far apart, or too uncertain.

    A pair without a margin gets the difference of its candidates' scores where `scores` exist,
    and the reason "no margin" otherwise. With `max_std` both answers need a score_std of at
    most that, and an answer without one counts as uncertain. Pairs that use a dropped
    candidate are dropped too. An earlier reason is kept; a row whose pairs are all dropped is
    dropped for its first pair's reason. Bounds are inclusive.
    """

    needs = ("candidates", "pairs")
    uses = ("scores",)
    writes = ("pairs",)

    at_least: float = Field(0.0, allow_inf_nan=False, description="smallest margin kept")
    at_most: float | None = Field(None, allow_inf_nan=False, description="largest margin kept")
    max_std: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="largest score_std of either answer"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Margin:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most ({self.at_most}) is less than at_least ({self.at_least})")
        return self

    def needed(self) -> tuple[str, ...]:
        """Need `score_std` too where it is bounded."""
        return self.needs if self.max_std is None else (*self.needs, "score_std")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons. Raises StageError for an index out of range."""
        counts, sizes = lengths(view["candidates"]), lengths(view["pairs"])
        pairs = flat(view["pairs"])
        ends = _ends(pairs, sizes, counts)
        margin = _floats(pc.struct_field(pairs, "margin"))
        unknown = np.isnan(margin)
        if "scores" in view.column_names and unknown.any():
            scores = aligned_scores(view["scores"], counts)
            margin = np.where(unknown, (scores[ends[0]] - scores[ends[1]]), margin)
            filled = pa.array(margin.astype(np.float32), mask=np.isnan(margin))
            pairs = set_field(pairs, "margin", filled)
        masks = [(self._dropped(view, ends), "candidate dropped"), (np.isnan(margin), "no margin")]
        masks.append((below(margin, self.at_least), f"margin below {self.at_least}"))
        if self.at_most is not None:
            masks.append((above(margin, self.at_most), f"margin above {self.at_most}"))
        if self.max_std is not None:
            std = aligned_scores(view["score_std"], counts)[ends].max(axis=0)  # NaN if either is
            masks.append((np.isnan(std), "uncertain: no score_std"))
            masks.append((above(std, self.max_std), f"uncertain: score_std above {self.max_std}"))
        reason = _first_reason(pc.struct_field(pairs, "drop"), masks)
        pairs = set_field(pairs, "drop", reason)
        return {"pairs": lists(sizes, pairs), DROP: _all_dropped(sizes, reason, "no pair")}

    def _dropped(self, view: pa.Table, ends: Ints) -> Bools:
        gone = pc.is_valid(flat(view["candidates"], "drop")).to_numpy(zero_copy_only=False)
        return np.asarray(gone[ends].any(axis=0))


class MinScore(Stage, name="min_score"):
    """Drop candidates whose score is below `at_least` or missing, and rows left with none.

    The score is `scores` where an earlier stage wrote it, else the mean of the candidate's
    pointwise judgments with status ok. Candidates already dropped keep their reason.
    """

    needs = ("candidates", "judgments")
    uses = ("scores",)
    writes = ("candidates",)

    at_least: float = Field(allow_inf_nan=False, description="smallest score kept")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates with their reasons, every text untouched."""
        counts = lengths(view["candidates"])
        if "scores" in view.column_names:
            scores = aligned_scores(view["scores"], counts)
        else:
            scores = mean_scores(view["judgments"], counts)
        candidates = flat(view["candidates"])
        masks = [
            (np.isnan(scores), "no score"),
            (below(scores, self.at_least), f"score below {self.at_least}"),
        ]
        reason = _first_reason(pc.struct_field(candidates, "drop"), masks)
        live = np.asarray(pc.is_null(reason).to_numpy(zero_copy_only=False), dtype=bool)
        left = np.bincount(owners(counts)[live], minlength=len(counts))
        none = pa.scalar(None, pa.string())
        why = pa.scalar(f"no candidate with a score of {self.at_least} or more")
        return {
            "candidates": lists(counts, set_field(candidates, "drop", reason)),
            DROP: pc.if_else(pa.array(left == 0), why, none),
        }


def _ends(pairs: pa.StructArray, sizes: Ints, counts: Ints) -> Ints:
    """Return (2, pairs): the flat index of each pair's chosen and rejected candidate."""
    row = owners(sizes)
    local = np.stack([_floats(pc.struct_field(pairs, name)) for name in ("chosen", "rejected")])
    if not ((local >= 0) & (local < counts[row])).all():
        raise StageError("a pair's chosen or rejected is no index of its row's candidates")
    return np.asarray((np.cumsum(counts) - counts)[row] + local.astype(np.int64))


def _first_reason(earlier: pa.Array, masks: list[tuple[Bools, str]]) -> pa.Array:
    """Return the earlier reason, else that of the first mask that is true, else null."""
    reason = pa.nulls(len(earlier), pa.string())
    for mask, text in reversed(masks):
        if mask.any():
            reason = pc.if_else(pa.array(mask), text, reason)
    return pc.coalesce(earlier, reason)


def _all_dropped(sizes: Ints, reason: pa.Array, empty: str) -> pa.Array:
    """Return each row's reason: null where a value is live, its first's reason, or `empty`."""
    live = np.asarray(pc.is_null(reason).to_numpy(zero_copy_only=False), dtype=bool)
    left = np.bincount(owners(sizes)[live], minlength=len(sizes))
    first = pa.array(np.cumsum(sizes) - sizes, mask=(left > 0) | (sizes == 0))
    return pc.if_else(pa.array(sizes == 0), empty, reason.take(first))


def _floats(array: pa.Array) -> Floats:
    """Return the values as float64, null as NaN."""
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
