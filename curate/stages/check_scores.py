"""A judge's overall scores against what was said of the answers' single aspects."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import Bools, Floats, flat, lengths, lists, owners, set_field, starts_of
from curate.errors import StageError
from curate.methods.judgments import floats, true
from curate.methods.pairing import TOLERANCE
from curate.stage import Context, Result, Stage


def checked_scores(
    scores: Floats, others: Floats, value: float, becomes: float, low: float, high: float
) -> Floats:
    """Return the scores with those equal to `value` corrected, NaN where nobody can tell.

    `others` is the mean of what others say of each answer, NaN where they say nothing. Up to
    `low` the score becomes `becomes`, above `high` it stays, and between the two it is NaN: to be
    judged again. Other scores stay as they are.
    """
    right = np.where(others <= low + TOLERANCE * abs(low), becomes, np.nan)
    right = np.where(others > high + TOLERANCE * abs(high), scores, right)
    return np.where(scores == value, right, scores)


class CheckScores(Stage, name="check_scores"):
    """Append a judge's scores again under a new name, those of one suspect value checked.

    Some tools turn a failure into a score. The released UltraFeedback (Cui et al. 2023) read an
    overall 1 as 10 in 2,628 answers; the mean of the four aspects tells which: up to 2 it was a
    1, above 4 a 10, and between the two nobody knows. What is not known has no score and the
    status `parse_error`, for `judge` to be asked again. The old judgments stay as they are, so
    name the new judge in `combine: {judges: ...}`.
    """

    needs = ("candidates", "judgments")
    appends = ("judgments",)

    judge: str
    """The judge whose scores are checked."""
    against: tuple[str, ...] = Field(min_length=1)
    """The judges whose mean tells; a name stands for all of its numbered ones too (`marks` for
    `marks#0`, `marks#1`). Missing scores (N/A) do not count."""
    value: float = Field(10.0, allow_inf_nan=False)
    """The suspect score."""
    becomes: float = Field(1.0, allow_inf_nan=False)
    """What it was, where the others' mean is at most `low`."""
    low: float = Field(2.0, allow_inf_nan=False)
    """The highest mean of an answer whose score was wrong."""
    high: float = Field(4.0, allow_inf_nan=False)
    """Above this mean the score is right."""
    name: str | None = None
    """The new judge's name; by default `judge:checked`."""

    @model_validator(mode="after")
    def _consistent(self) -> CheckScores:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        if self.judge in self.against:
            raise ValueError("a judge is no check on itself; leave it out of against")
        return self

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the checked judgments. Raises StageError for an index out of range."""
        counts = lengths(view["candidates"])
        values, row = flat(view["judgments"]), owners(lengths(view["judgments"]))
        alone = true(pc.is_null(pc.struct_field(values, "b")))
        a = floats(pc.struct_field(values, "a"))
        if not ((a >= 0) & (a < counts[row]))[alone].all():
            raise StageError("a judgment's a is no index of its row's candidates")
        answer = starts_of(counts)[row] + np.nan_to_num(a).astype(np.int64)
        score = floats(pc.struct_field(values, "score"))
        ok = true(pc.equal(pc.struct_field(values, "status"), "ok")) & np.isfinite(score)
        names = pc.struct_field(values, "judge")
        tells = self._tells(names) & ok & alone
        seen = np.bincount(answer[tells], minlength=int(counts.sum()))
        with np.errstate(invalid="ignore"):
            others = np.bincount(answer[tells], score[tells], len(seen)) / seen
        mine = np.flatnonzero(true(pc.equal(names, self.judge)) & alone)
        old = np.where(ok, score, np.nan)[mine]
        new = checked_scores(
            old, others[answer[mine]], self.value, self.becomes, self.low, self.high
        )
        lost = np.isnan(new) & ~np.isnan(old)
        ctx.counts["scores corrected"] += int((new != old)[~np.isnan(new)].sum())
        ctx.counts["scores taken back"] += int(lost.sum())
        found = values.take(pa.array(mine))
        status = pc.if_else(pa.array(lost), "parse_error", pc.struct_field(found, "status"))
        named = pa.scalar(self.name or f"{self.judge}:checked", pa.string())
        found = set_field(found, "judge", pa.repeat(named, len(mine)))
        found = set_field(found, "score", pa.array(new.astype(np.float32), mask=np.isnan(new)))
        found = set_field(found, "status", status)
        return {"judgments": lists(np.bincount(row[mine], minlength=len(view)), found)}

    def _tells(self, names: pa.Array) -> Bools:
        """Return which judgments are of the judges in `against`, numbered ones included."""
        known = pa.array(self.against, pa.string())
        family = pc.replace_substring_regex(names, r"#[0-9]+$", "")
        return true(pc.or_(pc.is_in(names, known), pc.is_in(family, known)))
