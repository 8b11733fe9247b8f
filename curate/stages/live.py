"""The candidates and pairs that may still be used, and the judgments that stages make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    Column,
    flat,
    large,
    lengths,
    lists,
    owners,
    places_of,
    set_field,
    starts_of,
    structs,
)
from curate.schema import JUDGMENT


class LiveCandidates(NamedTuple):
    """The candidates without a drop reason, flattened in row order."""

    texts: pa.Array  # large_string
    row: npt.NDArray[np.int64]  # the row each belongs to
    place: npt.NDArray[np.int64]  # its index within its row's candidates
    counts: npt.NDArray[np.int64]  # live candidates of each row

    def of_rows(self, keep: npt.NDArray[np.bool_]) -> LiveCandidates:
        """Return the candidates of the rows (n,) to keep."""
        at = np.flatnonzero(keep[self.row])
        counts = np.where(keep, self.counts, 0)
        return LiveCandidates(self.texts.take(pa.array(at)), self.row[at], self.place[at], counts)


def live_candidates(candidates: Column) -> LiveCandidates:
    """Return the candidates that may still be used; a null text reads as empty."""
    counts = lengths(candidates)
    row, place = owners(counts), places_of(counts)
    live = flat(candidates, "drop").is_null()
    texts, kept = candidate_texts(candidates), live.to_numpy(zero_copy_only=False)
    if not kept.all():
        texts, row, place = texts.filter(live), row[kept], place[kept]
    return LiveCandidates(texts, row, place, np.bincount(row, minlength=len(counts)))


def candidate_texts(candidates: Column) -> pa.Array:
    """Return all candidates' texts as large_string, dropped ones included; null reads as ""."""
    return pc.fill_null(large(flat(candidates, "text")), "")


def with_reasons(candidates: Column, reason: pa.Array) -> pa.Array:
    """Return the candidates with reasons to be dropped, one each or null; an earlier one stays."""
    values = flat(candidates)
    reason = pc.coalesce(pc.struct_field(values, "drop"), reason)
    return lists(lengths(candidates), set_field(values, "drop", reason))


class LivePairs(NamedTuple):
    """The pairs without a drop reason, flattened in row order."""

    row: npt.NDArray[np.int64]  # the row each belongs to
    place: npt.NDArray[np.int64]  # its index among all rows' pairs
    chosen: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]


def live_pairs(pairs: Column) -> LivePairs:
    """Return the pairs that may still be used."""
    keep = np.flatnonzero(flat(pairs, "drop").is_null().to_numpy(zero_copy_only=False))
    chosen, rejected = (
        flat(pairs, name).take(pa.array(keep)).to_numpy().astype(np.int64)
        for name in ("chosen", "rejected")
    )
    return LivePairs(owners(lengths(pairs))[keep], keep, chosen, rejected)


def text_lengths(
    candidates: Column, row: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many characters candidate `place[i]` of row `row[i]` has."""
    sizes = pc.utf8_length(candidate_texts(candidates)).take(flat_place(candidates, row, place))
    return np.asarray(sizes, dtype=np.int64)


def flat_place(
    candidates: Column, row: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
) -> pa.Array:
    """Return where candidate `place[i]` of row `row[i]` lies among all of them."""
    counts = lengths(candidates)
    return pa.array(starts_of(counts)[row] + place)


def judged(rows: int, row: npt.NDArray[np.int64], **fields: Any) -> pa.Array:
    """Return the judgments (rows,) of which number i, with these fields, is about row `row[i]`.

    `row` ascends. A field is an array, a sequence or one value for all; see JUDGMENT.
    """
    return lists(np.bincount(row, minlength=rows), structs(JUDGMENT, len(row), **fields))


def judged_by(
    reading: Callable[[str, Any], float | None],
    given: Sequence[Any],
    candidates: Column,
    *,
    judge: str,
    aspect: str,
) -> pa.Array:
    """Return the judgments of a program, which reads each live candidate's text.

    `reading` gets a text and what its row was `given`, and returns its score, or None where
    the text cannot be read (a `parse_error`). A row that was given nothing (None, or no items)
    gets no judgment.
    """
    live = live_candidates(candidates).of_rows(np.array([bool(g) for g in given], dtype=bool))
    texts = zip(live.texts.to_pylist(), live.row.tolist(), strict=True)
    scores = [reading(text, given[row]) for text, row in texts]
    return judged(
        len(given),
        live.row,
        judge=judge,
        aspect=aspect,
        a=pa.array(live.place),
        score=pa.array([None if s is None else float(s) for s in scores], pa.float32()),
        status=["parse_error" if s is None else "ok" for s in scores],
        text="",
    )
