"""Judgments as arrays: the usable calls, with names as codes and candidates as flat indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Column, Floats, Ints, flat, lengths, owners, starts_of
from curate.errors import StageError

Own: TypeAlias = Literal["prompt", "answer"]
Committee: TypeAlias = Literal["judges", "samples", "aspects"]

SCORES, GRADES, ODDS = 1, 2, 4
"""What a judge may give: scores of single answers, comparisons in grades or in log-odds."""

LOG_ODDS = "log_odds"
"""The `scale` of a comparison that is no grade."""


@dataclass(frozen=True)
class Judgments:
    """Usable judgments, one value a call; all arrays have the same length.

    `a` and `b` index the flat candidates, `b` is -1 for a score of `a` alone. `judge` and
    `aspect` are codes into the sorted names. `score` is finite; of a comparison it is positive
    where a is better. `spread` is NaN where the judge gave none. `order` is 1 where a was shown
    first, -1 where b was, 0 where unknown.
    """

    row: Ints
    a: Ints
    b: Ints
    judge: Ints
    aspect: Ints
    score: Floats
    spread: Floats
    order: Ints
    log_odds: Bools
    judges: tuple[str, ...]
    aspects: tuple[str, ...]

    @property
    def compares(self) -> Bools:
        """Return (calls,) whether the call compared two answers."""
        return np.asarray(self.b >= 0)

    @property
    def in_log_odds(self) -> Bools:
        """Return (judges,) whose comparisons are log-odds."""
        found = np.zeros(len(self.judges), dtype=bool)
        found[self.judge[self.log_odds]] = True
        return found


def read_judgments(
    judgments: Column,
    counts: Ints,
    judges: tuple[str, ...] = (),
    *,
    models: pa.Array | None = None,
    judge_models: Mapping[str, str] | None = None,
    exclude_own: Own = "prompt",
) -> Judgments:
    """Return the usable judgments of the rows.

    Usable is a judgment with status ok and a finite score, of a judge that goes by a name in
    `judges` (empty: all; see `named`).
    `counts` (rows,) is the number of candidates a row. `models` (candidates,) names who wrote
    each answer and `judge_models` what models the judges are; see `own_answers`. Raises
    StageError where an index is out of range, or where one judge's name stands for both scores
    and comparisons, or for grades and log-odds.
    """
    row = owners(lengths(judgments))
    score = floats(flat(judgments, "score"))
    usable = true(pc.equal(flat(judgments, "status"), "ok")) & np.isfinite(score)
    if judges:
        known = pc.unique(flat(judgments, "judge")).drop_null().to_pylist()
        wanted = pa.array(named(known, judges), pa.string())
        usable &= true(pc.is_in(flat(judgments, "judge"), wanted))
    chosen = None if usable.all() else np.flatnonzero(usable)
    if chosen is not None:
        row, score = row[chosen], score[chosen]

    def field(name: str) -> pa.Array:
        column = flat(judgments, name)
        return column if chosen is None else column.take(pa.array(chosen))

    starts = starts_of(counts)
    a = _flat_index(field("a"), row, counts, starts, missing=False)
    b = _flat_index(field("b"), row, counts, starts, missing=True)
    judge, names = codes(field("judge"))
    aspect, aspects = codes(field("aspect"))
    order = _orders(field("order"))
    scaled = np.zeros(len(row), dtype=bool)
    if judgments.type.value_type.get_field_index("scale") >= 0:  # data of older versions has none
        scaled = true(pc.equal(field("scale"), LOG_ODDS)) & (b >= 0)
    found = Judgments(
        row, a, b, judge, aspect, score, floats(field("spread")), order, scaled, names, aspects
    )
    of_one_kind(names, kinds_of(found))
    if models is not None and judge_models:
        own = own_answers(found, owners(counts), models, judge_models, exclude_own)
        found = select(found, np.flatnonzero(~own))
    return found


def of_view(
    view: pa.Table,
    judges: tuple[str, ...] = (),
    judge_models: Mapping[str, str] | None = None,
    exclude_own: Own = "prompt",
) -> Judgments:
    """Return the usable judgments of a view with candidates; see `read_judgments`."""
    return read_judgments(
        view["judgments"], lengths(view["candidates"]), judges,
        models=flat(view["candidates"], "model") if judge_models else None,
        judge_models=judge_models, exclude_own=exclude_own,
    )  # fmt: skip


def select(judgments: Judgments, at: Ints) -> Judgments:
    """Return the judgments at those places (k,); the names and their codes stay."""
    j = judgments
    return Judgments(
        j.row[at], j.a[at], j.b[at], j.judge[at], j.aspect[at], j.score[at], j.spread[at],
        j.order[at], j.log_odds[at], j.judges, j.aspects,
    )  # fmt: skip


def by_sample(judgments: Judgments) -> Judgments:
    """Return the judgments with each judge split into one judge a sample.

    A judge's samples are its calls that show the same answers in the same order on the same
    aspect, numbered as they lie in the row; call n of both orders is one judge's.
    """
    j = judgments
    same = np.lexsort((np.arange(len(j.row)), j.order, j.aspect, j.b, j.a, j.judge))
    keys = np.stack([j.judge, j.a, j.b, j.aspect, j.order])[:, same]
    starts = np.flatnonzero(np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)))
    starts = starts[: len(same)]
    number = np.empty(len(same), dtype=np.int64)
    counts = np.diff(np.append(starts, len(same)))
    number[same] = np.arange(len(same)) - np.repeat(starts, counts)
    most = int(number.max(initial=0)) + 1
    names = tuple(f"{name} {n + 1}" for name in j.judges for n in range(most))
    return replace(j, judge=j.judge * most + number, judges=names)


def by_aspect(judgments: Judgments) -> Judgments:
    """Return the judgments with each judge split into one judge an aspect, "judge aspect"."""
    n = len(judgments.aspects)
    names = tuple(f"{judge} {aspect}" for judge in judgments.judges for aspect in judgments.aspects)
    return replace(judgments, judge=judgments.judge * n + judgments.aspect, judges=names)


def as_committee(judgments: Judgments, of: Committee) -> Judgments:
    """Return the judgments with judges, their samples or their aspects as those who vote."""
    if of == "judges":
        return judgments
    return by_sample(judgments) if of == "samples" else by_aspect(judgments)


def torn_as_ties(judgments: Judgments) -> Judgments:
    """Return the judgments with a tie for comparisons whose two orders name different answers.

    A judge's calls on an aspect of two answers are torn where their mean with the one shown first
    and with the other shown first have unlike signs. Comparisons that were read in one order only
    are left out: whether they would hold is not known.
    """
    j = judgments
    calls = np.flatnonzero(j.compares)
    low, high = np.minimum(j.a, j.b)[calls], np.maximum(j.a, j.b)[calls]
    keys = np.stack([j.judge[calls], j.aspect[calls], low, high])
    _, of = np.unique(keys, axis=1, return_inverse=True)
    of, side = of.reshape(-1), np.where(j.a[calls] < j.b[calls], 1, -1)
    shown = j.order[calls] * side  # 1: the lower answer was shown first
    n = int(of.max(initial=-1)) + 1
    total = [np.bincount(of, side * j.score[calls] * (shown == s), n) for s in (1, -1)]
    asked = [np.bincount(of, shown == s, n) > 0 for s in (1, -1)]
    torn = (np.sign(total[0]) != np.sign(total[1]))[of]
    score = j.score.copy()
    score[calls[torn]] = 0.0
    keep = np.ones(len(score), dtype=bool)
    keep[calls] = (asked[0] & asked[1])[of]
    return select(replace(j, score=score), np.flatnonzero(keep))


def own_answers(
    judgments: Judgments,
    rows: Ints,
    models: pa.Array,
    judge_models: Mapping[str, str],
    within: Own = "prompt",
) -> Bools:
    """Return (calls,) where a judge's own model is at stake: judges prefer their own answers.

    `judge_models` says which model a judge is, by the judge's name or by what comes before its
    first colon (the engine). A candidate is the judge's own where its model's name begins with
    that, so a family's prefix leaves out the family. Within "answer" the calls that show an own
    answer count; within "prompt" all of the judge's calls on a prompt with an own answer, so
    that every answer there faces the same jury. `rows` (candidates,) is each one's prompt.
    """
    own = np.zeros(len(judgments.judge), dtype=bool)
    for code, name in enumerate(judgments.judges):
        model = judge_models.get(name, judge_models.get(name.split(":", 1)[0]))
        if not model:
            continue
        written = true(pc.starts_with(models, model))
        calls = judgments.judge == code
        if within == "prompt":
            prompts = np.zeros(int(rows.max(initial=-1)) + 1, dtype=bool)
            prompts[rows[written]] = True
            own |= calls & prompts[judgments.row]
        else:
            shown = written[judgments.a]
            shown[judgments.compares] |= written[judgments.b[judgments.compares]]
            own |= calls & shown
    return own


def named(judges: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the judges that go by one of `names`, in their own order.

    A judge goes by its whole name, or by what comes before a colon in it: "people" stands for
    "people:7" and "people:8", and "strong" for all that the engine strong judged.
    """
    whole, starts = frozenset(names), tuple(f"{name}:" for name in names)
    return tuple(j for j in judges if j in whole or j.startswith(starts))


def codes(names: pa.Array) -> tuple[Ints, tuple[str, ...]]:
    """Return codes (n,) into the sorted distinct names: so a sum's order is the names' order."""
    if len(names) and not names.null_count and pc.all(pc.equal(names, names[0])).as_py():
        return np.zeros(len(names), dtype=np.int64), (names[0].as_py(),)
    encoded = pc.fill_null(names, "").dictionary_encode()
    known = encoded.dictionary.to_pylist()
    order = sorted(range(len(known)), key=known.__getitem__)
    rank = np.empty(len(known), dtype=np.int64)
    rank[order] = np.arange(len(known))
    return rank[np.asarray(encoded.indices)], tuple(known[i] for i in order)


def floats(array: pa.Array) -> Floats:
    """Return the values as float64, null as NaN."""
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def true(mask: pa.Array) -> Bools:
    """Return where the mask is true; null counts as false."""
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)


def _flat_index(index: pa.Array, row: Ints, counts: Ints, starts: Ints, *, missing: bool) -> Ints:
    """Return indexes into the flat candidates; -1 for null where that may be missing."""
    if missing and index.null_count == len(index):
        return np.full(len(index), -1, dtype=np.int64)
    absent = np.asarray(index.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    local = np.asarray(pc.fill_null(index, 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    outside = (local < 0) | (local >= counts[row])
    if ((outside & ~absent) | (absent & (not missing))).any():
        raise StageError("a judgment's a or b is no index of its row's candidates")
    return np.where(absent, -1, starts[row] + local)


def _orders(order: pa.Array) -> Ints:
    if order.null_count == len(order):
        return np.zeros(len(order), dtype=np.int64)
    return true(pc.equal(order, "ab")).astype(np.int64) - true(pc.equal(order, "ba"))


def kinds_of(judgments: Judgments) -> Ints:
    """Return what each judge gives (judges,): the sum of SCORES, GRADES and ODDS that it does."""
    compares, odds = judgments.compares, judgments.log_odds
    kinds = np.zeros(len(judgments.judges), dtype=np.int64)
    for kind, calls in ((SCORES, ~compares), (GRADES, compares & ~odds), (ODDS, compares & odds)):
        kinds[np.unique(judgments.judge[calls])] |= kind
    return kinds


def of_one_kind(judges: Sequence[str], kinds: Ints) -> None:
    """Raise StageError where a judge's calls could not be averaged: they mean unlike things.

    `kinds` (judges,) is what `kinds_of` says of them.
    """
    for one, other, what in (
        (SCORES, GRADES | ODDS, "both scores and comparisons"),
        (GRADES, ODDS, "comparisons both as grades and as log-odds"),
    ):
        both = np.flatnonzero((kinds & one > 0) & (kinds & other > 0))
        if len(both):
            raise StageError(
                f"judge {judges[int(both[0])]!r} gives {what}; give them different names"
            )
