"""What is known about pairs of answers: human labels, judges' votes, and the texts themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    Bools,
    Column,
    Floats,
    Ints,
    flat,
    lengths,
    one_chunk,
    owners,
    places_of,
    starts_of,
    text_of,
)
from curate.errors import ConfigError, StageError, did_you_mean
from curate.methods.columns import own_keys
from curate.methods.judgments import named, read_judgments, true
from curate.methods.votes import pair_votes

Truth: TypeAlias = Literal["majority", "mean"]

VERDICTS: Mapping[str, float] = {
    **dict.fromkeys(("1", "1.0", "a", "model_a", "answer_a", "first", "chosen", "true"), 1.0),
    **dict.fromkeys(("2", "2.0", "-1", "-1.0", "b", "model_b", "answer_b", "second"), -1.0),
    **dict.fromkeys(("rejected", "false"), -1.0),
    **dict.fromkeys(("0", "0.0", "c", "tie", "both", "draw", "tie (bothbad)"), 0.0),
}
"""How a stored verdict reads, in lower case: 1 for the first answer, -1 for the second, 0 a tie.
Anything else is unreadable, which is not a tie."""


class Comparisons(NamedTuple):
    """n pairs of candidates: their row, and the two flat indexes into all candidates."""

    row: Ints
    a: Ints
    b: Ints


class Votes(NamedTuple):
    """One voter's word on n comparisons; > 0 favours a, < 0 b, 0 is a tie, NaN is no word."""

    value: Floats  # the mean of both orders, or the difference of the two scores
    a_first: Floats  # verdict with a shown first; NaN where it was not asked, or not readable
    b_first: Floats
    spread: Floats  # standard deviation of the difference, where the judge gives one
    asked: Bools  # a verdict was asked for, readable or not

    def take(self, at: Ints) -> Votes:
        """Return the votes on the comparisons at those places."""
        return Votes(
            self.value[at], self.a_first[at], self.b_first[at], self.spread[at], self.asked[at]
        )


def comparisons(table: pa.Table) -> Comparisons:
    """Return the table's pairs as (chosen, rejected), or every two candidates where it has none.

    Dropped pairs are included: a filter's reason is no reason not to measure. Raises StageError
    for a pair whose indexes its row does not have.
    """
    counts = sizes(table["candidates"])
    base = starts_of(counts)
    if "pairs" in table.column_names:
        row = owners(lengths(table["pairs"]))
        a, b = (ints(flat(table["pairs"], name)) for name in ("chosen", "rejected"))
        if not ((a >= 0) & (b >= 0) & (a < counts[row]) & (b < counts[row])).all():
            raise StageError("a pair's chosen or rejected is no index of its row's candidates")
        return Comparisons(row, base[row] + a, base[row] + b)
    owner = owners(counts)
    fan = counts[owner] - 1 - (np.arange(len(owner)) - base[owner])  # later ones of the same row
    a = np.repeat(np.arange(len(owner)), fan)
    b = places_of(fan) + 1 + a
    return Comparisons(owner[a], a, b)


def judge_names(table: pa.Table) -> list[str]:
    """Return the names of the judges in `judgments`, sorted."""
    if "judgments" not in table.column_names:
        return []
    return sorted(name for name in pc.unique(flat(table["judgments"], "judge")).to_pylist() if name)


def voters_of(table: pa.Table, names: Sequence[str]) -> list[str]:
    """Return who is meant by `names`: judges, all those that go by a name, or fields of `meta`.

    "people" stands for "people:7" and "people:8" (see `judgments.named`).
    """
    return voters_among(judge_names(table), names)


def voters_among(judges: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return who is meant by `names` where these are the judges; see `voters_of`."""
    return list(dict.fromkeys(v for name in names for v in named(judges, [name]) or (name,)))


def votes(
    table: pa.Table, pairs: Comparisons, names: Sequence[str], verdicts: Mapping[str, float]
) -> dict[str, Votes]:
    """Return each voter's votes: a judge of `judgments`, or else a field of `meta`.

    A field of `meta` holds a verdict on candidates 0 and 1, shown in that order, read by
    `verdicts`. Raises ConfigError for a name that is neither, with the names there are.
    """
    known = judge_names(table)
    fields = [name for name in names if name not in known]
    stored = field_votes(table, pairs, fields, verdicts)
    for name in fields:
        if name not in stored:
            raise no_voter(name, [*known, *fields_of(table)])
    found = judge_votes(table, pairs, [name for name in names if name in known]) | stored
    return {name: found[name] for name in names}


def no_voter(name: str, options: Sequence[str]) -> ConfigError:
    """Return the error for a name that is no judge and no field of `meta`, as these are."""
    return ConfigError(
        f"{name!r} is no judge and no column of the data{did_you_mean(name, options)}"
    )


def field_votes(
    table: pa.Table, pairs: Comparisons, names: Sequence[str], verdicts: Mapping[str, float]
) -> dict[str, Votes]:
    """Return the votes of those fields of `meta` that some row has, as `votes` reads them."""
    counts = sizes(table["candidates"])
    base = starts_of(counts)[pairs.row]
    forward = (pairs.a == base) & (pairs.b == base + 1)
    backward = (pairs.b == base) & (pairs.a == base + 1)
    none = np.full(len(pairs.row), np.nan)
    found = {}
    for name, (value, asked) in (_meta_verdicts(table, names, verdicts) if names else {}).items():
        if asked.any():
            a_first = np.where(forward, value[pairs.row], none)
            b_first = np.where(backward, -value[pairs.row], none)
            either = np.where(forward, a_first, b_first)
            asked = asked[pairs.row] & (forward | backward)
            found[name] = Votes(either, a_first, b_first, none, asked)
    return found


def judge_votes(table: pa.Table, pairs: Comparisons, names: Sequence[str]) -> dict[str, Votes]:
    """Return what judges of `judgments` say, as `pair_votes` reads it for the stages.

    Only judgments with status ok count; the others make `asked` true and say nothing. Raises
    StageError as `read_judgments`.
    """
    counts = sizes(table["candidates"])
    found = read_judgments(table["judgments"], counts, tuple(names)) if names else None
    said = None if found is None else pair_votes(found, pairs.a, pairs.b, int(counts.sum()))
    result = {}
    for name in names:
        asked = _asked(table, pairs, name, counts)
        none = np.full(len(pairs.row), np.nan)
        if found is None or said is None or name not in found.judges:
            result[name] = Votes(none, none, none, none, asked)
            continue
        at = found.judges.index(name)
        columns = (said.margin, said.forward, said.backward, said.spread)
        margin, forward, backward, spread = (column[:, at] for column in columns)
        result[name] = Votes(margin, forward, backward, spread, asked)
    return result


def _asked(table: pa.Table, pairs: Comparisons, judge: str, counts: Ints) -> Bools:
    """Return the comparisons on which a judge was asked for a verdict, or for both scores."""
    base, total = starts_of(counts), int(counts.sum())
    where = np.flatnonzero(true(pc.equal(flat(table["judgments"], "judge"), judge)))
    row = owners(sizes(table["judgments"]))[where]
    a, b = (ints(flat(table["judgments"], name).take(pa.array(where))) for name in ("a", "b"))
    one, two = base[row] + a, base[row] + b
    scored = np.bincount(one[b < 0], minlength=total) > 0
    duels = (np.minimum(one, two) * total + np.maximum(one, two))[b >= 0]
    mine = np.minimum(pairs.a, pairs.b) * total + np.maximum(pairs.a, pairs.b)
    return np.asarray((scored[pairs.a] & scored[pairs.b]) | np.isin(mine, duels))


def majority(ballots: Sequence[Floats]) -> Floats:
    """Return the sign (n,) that leads among the voters; NaN where none, or no vote, does.

    A tie is an opinion like the other two: votes +, +, 0 give 1, and +, -, 0 give NaN.
    """
    signs = np.sign(np.stack(list(ballots)))
    counts = np.stack([(signs == sign).sum(axis=0) for sign in (1.0, -1.0, 0.0)])
    best = counts.max(axis=0)
    leads = (counts == best).sum(axis=0) == 1
    winner = np.array([1.0, -1.0, 0.0])[counts.argmax(axis=0)]
    return np.where(leads, winner, np.nan)


def truth_of(ballots: Sequence[Floats], how: Truth) -> Floats:
    """Return what the voters hold true (n,): 1 for a, -1 for b, 0 a tie, NaN where that is open.

    "majority" counts each voter's side; "mean" is the side of the mean, for voters that score.
    """
    if how == "majority":
        return majority(ballots)
    values = np.stack(list(ballots))
    return np.where(np.isnan(values).all(axis=0), np.nan, np.sign(np.nansum(values, axis=0)))


def groups_of(table: pa.Table, pairs: Comparisons) -> npt.NDArray[np.object_]:
    """Return each comparison's prompt (n,) as text: what must stay on one side of a split."""
    prompts = [text_of(chunk).to_pylist() for chunk in chunks(table["prompt"])]
    texts = np.array([text for some in prompts for text in some], dtype=object)
    return np.asarray(texts[pairs.row] if len(texts) else texts)


def sizes(column: Column) -> Ints:
    """Return each list's length (rows,), whatever the column holds: no chunks are joined."""
    return np.concatenate([lengths(chunk) for chunk in chunks(column)])


def chunks(column: Column) -> list[pa.Array]:
    """Return the column's chunks, at least one: joined texts may pass Arrow's 2 GiB."""
    if isinstance(column, pa.ChunkedArray) and column.num_chunks:
        return list(column.chunks)
    return [one_chunk(column)]


def ints(array: pa.Array) -> Ints:
    """Return the values as int64, null as -1."""
    return np.asarray(pc.fill_null(array, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _meta_verdicts(
    table: pa.Table, names: Sequence[str], verdicts: Mapping[str, float]
) -> dict[str, tuple[Floats, Bools]]:
    """Return, for each field of `meta`, the signed verdict of each row and whether it has one."""
    rows = _meta(table)
    found = {}
    for name in names:
        raw = [row.get(name) for row in rows]
        words = [None if v is None else str(v).strip().lower() for v in raw]
        value = [np.nan if w is None else verdicts.get(w, np.nan) for w in words]
        asked = np.array([w is not None for w in words], dtype=bool)
        found[name] = (np.array(value, dtype=np.float64), asked)
    return found


def _meta(table: pa.Table) -> list[dict[str, Any]]:
    if "meta" not in table.column_names:
        return [{}] * len(table)
    return [orjson.loads(text) if text else {} for text in table["meta"].to_pylist()]


def fields_of(table: pa.Table) -> list[str]:
    """Return the fields that some row has in `meta`, sorted."""
    return own_keys(table["meta"]) if "meta" in table.column_names else []
