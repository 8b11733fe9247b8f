"""Scored candidates to pairs of a chosen and a rejected answer."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import (
    Bools,
    Column,
    Floats,
    Ints,
    flat,
    lengths,
    lists,
    mix,
    owners,
    starts_of,
    structs,
)
from curate.errors import StageError
from curate.methods.judgments import true
from curate.methods.pairing import all_pairs, best_worst, largest, ranks
from curate.schema import DROP, PAIR
from curate.stage import Context, Result, Stage

FEW = "no pair: fewer than two scored candidates"
EQUAL = "no pair: all scores equal"
IDENTICAL = "no pair: identical texts"


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
    scores = np.where(true(out), np.nan, scores)
    return counts, scores, texts


def same_text(texts: pa.Array, first: Ints, second: Ints) -> Bools:
    """Return where texts[first] equals texts[second]; texts are read only if equally long."""
    size = np.asarray(pc.fill_null(pc.binary_length(texts), -1))
    same: Bools = np.asarray(size[first] == size[second])
    at = np.flatnonzero(same)
    equal = pc.equal(texts.take(pa.array(first[at])), texts.take(pa.array(second[at])))
    same[at] = true(equal)
    return same


def _result(
    source: str, counts: Ints, scores: Floats, found: tuple[Ints, Ints, Ints], why: pa.Array
) -> Result:
    """Build the pairs from (row, chosen, rejected); rows without one are dropped for `why`."""
    row, chosen, rejected = found
    starts = starts_of(counts)
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
        starts = starts_of(counts)
        row = np.flatnonzero(best >= 0)
        row = row[~same_text(texts, (starts + best)[row], (starts + worst)[row])]
        found = (row, best[row], worst[row])
        return _result(self.kind, counts, scores, found, _why(counts, scores, IDENTICAL))


class AllPairs(Stage, name="all_pairs"):
    """Pair every two answers whose scores are more than `at_least` apart, or some of them.

    `chosen: best` pairs only a prompt's best answer, with every lower one (in the order of
    their margins a curriculum, as in Curri-DPO, 2024). `most: 1` keeps the widest pair, and
    with `pick: random` any one: `{chosen: best, most: 1, pick: random}` is best against a random
    lower answer, as Tulu 3 pairs them; `{at_least: 2, most: 1, pick: random}` is COIG-P's way.
    Dropped candidates, null scores and pairs of identical texts are skipped. See `all_pairs`.
    """

    needs = ("candidates", "scores")
    writes = ("pairs",)
    seeded = True

    at_least: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="the gap must be more than this"
    )
    ranks_apart: int = Field(1, ge=1, description="least distance in rank; equal scores share one")
    chosen: Literal["any", "best"] = Field("any", description="pair any answer, or the best only")
    most: int | None = Field(None, ge=1, description="pairs a prompt")
    pick: Literal["margin", "random"] = Field("margin", description="which, if there are more")

    def needed(self) -> tuple[str, ...]:
        """Need the rows' ids where chance decides."""
        return (*self.needs, "id") if self.pick == "random" else self.needs

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return every pair of a row, or an empty list and the reason."""
        counts, scores, texts = usable_scores(view)
        starts = starts_of(counts)
        row, chosen, rejected = all_pairs(counts, scores, self.at_least)
        keep = ~same_text(texts, starts[row] + chosen, starts[row] + rejected)
        if self.chosen == "best":
            keep &= chosen == best_worst(counts, scores)[0][row]
        if self.ranks_apart > 1:
            rank = ranks(counts, scores)
            keep &= rank[starts[row] + rejected] - rank[starts[row] + chosen] >= self.ranks_apart
        row, chosen, rejected = row[keep], chosen[keep], rejected[keep]
        if self.most is not None:
            value = scores[starts[row] + chosen] - scores[starts[row] + rejected]
            if self.pick == "random":
                value = self._drawn(view, ctx, row, chosen * counts[row] + rejected)
            kept = largest(row, value, self.most)
            row, chosen, rejected = row[kept], chosen[kept], rejected[kept]
        why = _why(counts, scores, self._none())
        return _result(self.kind, counts, scores, (row, chosen, rejected), why)

    def _drawn(self, view: pa.Table, ctx: Context, row: Ints, place: Ints) -> Floats:
        """Return a random number for each pair; `place` tells the pairs of a row apart."""
        seeds = ctx.row_seeds(view["id"], self.kind)
        return (mix(seeds[row], place) >> np.uint64(11)).astype(np.float64)  # exact in 53 bits

    def _none(self) -> str:
        apart = f" {self.ranks_apart} ranks apart" if self.ranks_apart > 1 else ""
        return f"no pair: no score gap above {self.at_least}{apart} between different texts"
