"""From one row per prompt to one entry per usable pair, and columns read through it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    Bools,
    Column,
    concat_lists,
    flat,
    lengths,
    lists,
    owners,
    places_of,
    starts_of,
)
from curate.methods.evidence import ints
from curate.methods.judgments import true

Indexes = npt.NDArray[np.int64]


class UsablePairs(NamedTuple):
    """Usable pairs in source order: entry k is pair `position[k]` of row `rows[k]`.

    `chosen` and `rejected` are indexes into that row's candidates.
    """

    rows: Indexes
    position: Indexes
    chosen: Indexes
    rejected: Indexes


def usable_pairs(table: pa.Table) -> UsablePairs:
    """Find the pairs that may be exported.

    A pair counts where it is not dropped, names two different candidates of its row, both
    have a text and neither is dropped, and the texts differ; and where the row's prompt is
    complete.
    """
    counts = lengths(table["pairs"])
    rows = owners(counts)
    position = places_of(counts)
    chosen, rejected = _sides(table)
    usable = true(why_unusable(table).is_null()) & has_prompt(table)[rows]
    return UsablePairs(rows[usable], position[usable], chosen[usable], rejected[usable])


def why_unusable(table: pa.Table) -> pa.Array:
    """Return why each flattened pair may not be exported, whatever its prompt; null: it may."""
    rows = owners(lengths(table["pairs"]))
    sides = _sides(table)
    one = sides[0] == sides[1]
    found = _also(flat(table["pairs"], "drop"), one, "chosen and rejected are one answer")
    texts = [element(table["candidates"], rows, index, "text") for index in sides]
    for side, index, text in zip(("chosen", "rejected"), sides, texts, strict=True):
        drop = element(table["candidates"], rows, index, "drop")
        if drop.null_count < len(drop):
            gone = pc.binary_join_element_wise(f"{side} was dropped,", drop, " ")
            found = pc.coalesce(found, gone)
        found = _also(found, true(text.is_null()), f"{side} has no text")
    return _also(found, same_text(*texts), "chosen and rejected are the same text")


def _also(found: pa.Array, mask: Bools, reason: str) -> pa.Array:
    """Return the reasons found, and where there is none yet `reason` where the mask is true."""
    if not mask.any():
        return found
    said = pc.if_else(pa.array(mask), pa.scalar(reason), pa.scalar(None, pa.string()))
    return pc.coalesce(found, said)


def _sides(table: pa.Table) -> tuple[Indexes, Indexes]:
    """Return the flattened pairs' `chosen` and `rejected`, -1 where one is null."""
    chosen, rejected = (ints(flat(table["pairs"], name)) for name in ("chosen", "rejected"))
    return chosen, rejected


def same_text(one: pa.Array, two: pa.Array) -> Bools:
    """Return where both texts are the same, not counting the white space around them.

    A trainer learns nothing from such a pair, and one that takes the difference of two rewards
    gets a label that is wrong whichever side it names. A null is the same as no text.
    """
    trimmed = [pc.utf8_trim_whitespace(text) for text in (one, two)]
    return true(pc.equal(*trimmed))


def live_candidates(table: pa.Table) -> Bools:
    """Return, for each flattened candidate, whether it has a text and is not dropped."""
    text, drop = (flat(table["candidates"], name) for name in ("text", "drop"))
    return true(pc.is_valid(text)) & true(pc.is_null(drop))


def has_prompt(table: pa.Table) -> Bools:
    """Return, for each row, whether its prompt has a message and none lacks role or content."""
    counts = lengths(table["prompt"])
    lacking = np.zeros(len(counts), dtype=bool)
    for name in ("role", "content"):
        null = true(pc.is_null(flat(table["prompt"], name)))
        lacking[owners(counts)[null]] = True
    complete: Bools = (counts > 0) & ~lacking
    return complete


def element(column: Column, rows: Indexes, index: Indexes, field: str | None = None) -> pa.Array:
    """Return element `index[k]` (or its `field`) of list `rows[k]`; null where there is none."""
    counts = lengths(column)
    inside = (index >= 0) & (index < counts[rows])
    where = np.where(inside, starts_of(counts)[rows] + index, 0)
    return flat(column, field).take(pa.array(where, mask=~inside))


def alternating(table: pa.Table, live: UsablePairs) -> tuple[Indexes, pa.Array]:
    """Return, for two entries a pair, their rows and texts: the chosen one, then the rejected."""
    rows = np.repeat(live.rows, 2)
    index = np.stack([live.chosen, live.rejected], axis=1).reshape(-1)
    return rows, element(table["candidates"], rows, index, "text")


def take(column: Column, rows: Indexes) -> pa.Array:
    """Return `column[rows]` as one array."""
    taken = column.take(pa.array(rows))
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def message(role: str, content: pa.Array) -> pa.Array:
    """Return one {role, content} struct per text."""
    return pa.StructArray.from_arrays(
        [pa.repeat(pa.scalar(role), len(content)), content], names=["role", "content"]
    )


def answer(content: pa.Array) -> pa.Array:
    """Return, per text, the message list that holds it as the assistant's turn."""
    return lists(np.ones(len(content), dtype=np.int64), message("assistant", content))


def conversation(prompt: pa.Array, content: pa.Array) -> pa.Array:
    """Return, per text, the prompt's messages followed by the assistant's turn."""
    return concat_lists(prompt, answer(content))


def plain(prompt: Column) -> pa.Array:
    """Return each prompt as one string.

    One message gives its content; several give `role: content` blocks separated by an empty
    line, so that who said what is not lost.
    """
    counts, role, content = lengths(prompt), flat(prompt, "role"), flat(prompt, "content")
    single = pa.array((counts == 1)[owners(counts)])
    labelled = pc.binary_join_element_wise(role, content, ": ")
    return pc.binary_join(lists(counts, pc.if_else(single, content, labelled)), "\n\n")
