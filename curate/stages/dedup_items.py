"""What is compared when duplicates are looked for: prompts, whole rows, answers or pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    Bools,
    Column,
    Floats,
    Ints,
    flat,
    hashes,
    join_texts,
    large,
    lengths,
    lists,
    load_polars,
    mix,
    owners,
    places_of,
    set_field,
    starts_of,
)
from curate.errors import StageError
from curate.methods.columns import OWN, base_column, column_of
from curate.methods.pieces import Hashes
from curate.methods.shingles import BORDER
from curate.methods.vectors import PAIR_NUMBERS, best_of, warn_unranked
from curate.schema import DROP
from curate.stage import Result
from curate.stages.pair_edits import all_dropped, read_pairs
from curate.stages.pairing import aligned_scores

On: TypeAlias = Literal["prompt", "last_turn", "conversation", "response", "pair"]

LISTED = {"response": "candidates", "pair": "pairs"}
"""The list column whose elements are the items; without one the rows are the items."""

SYSTEM_ROLES = ("system", "developer")

SOURCES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "last_turn": ("prompt",),
    "conversation": ("prompt", "candidates"),
    "response": ("candidates",),
    "pair": ("prompt", "candidates", "pairs"),
}
"""The columns that the texts come from."""

_CALLED = {
    "prompt": "prompt ",
    "last_turn": "last turn ",
    "conversation": "conversation ",
    "response": "answer ",
    "pair": "pair ",
}


def twin_of(how: str, on: str) -> str:
    """Return the beginning of a copy's reason, behind which stands the item that stays.

    It says what is alike: rows that share a prompt may have answers of their own.
    """
    return f"{how} {_CALLED.get(on, '')}duplicate of "


class Items(NamedTuple):
    """The live items of a view, in its order: each one's `row`, and its `place` in that row."""

    row: Ints
    place: Ints


def items_of(view: pa.Table, on: str) -> Items:
    """Return the rows, or the candidates or pairs that nothing has dropped yet."""
    if on not in LISTED:
        return Items(np.arange(len(view)), np.zeros(len(view), dtype=np.int64))
    counts = lengths(view[LISTED[on]])
    live = live_in(view[LISTED[on]])
    return Items(owners(counts)[live], places_of(counts)[live])


def live_in(column: Column) -> Bools:
    """Return, for the flattened candidates or pairs, where no reason to drop them is."""
    return np.asarray(flat(column, "drop").is_null().to_numpy(zero_copy_only=False), dtype=bool)


def item_texts(
    view: pa.Table, on: str, seal: bool = False, fold: bool = True
) -> Iterator[pa.Array]:
    """Yield the items' texts, one array for each chunk of the view.

    System messages are left out (see `asked` and `system_marks`), but not with `seal`. Between
    the parts of a text is a BORDER that no shingle crosses; a pair's parts are its two answers in
    a fixed order, with `seal` after the prompt. With `seal` each part has its role and length
    before it, so that no text can imitate a border, an item without text is null, and with `fold`
    each part is in NFC with white space collapsed.
    """
    for batch in view.to_batches():
        part = pa.table(batch)
        texts = _texts(part, on, seal, fold, system=seal)
        if seal:
            plain = _texts(part, on, False, False, system=True)
            plain = pc.utf8_trim_whitespace(pc.fill_null(plain, ""))
            blank = pc.equal(pc.replace_substring(plain, BORDER, ""), "")
            texts = pc.if_else(blank, pa.scalar(None, pa.large_string()), texts)
        yield texts


def _texts(view: pa.Table, on: str, seal: bool, fold: bool, system: bool) -> pa.Array:
    if on == "last_turn":
        turns = _parts(view["prompt"], "content", "role", seal, fold)
        counts = lengths(view["prompt"])
        return turns.take(pa.array(np.cumsum(counts) - 1, mask=counts == 0))
    if on != "response":
        talk = view["prompt"] if system else asked(view["prompt"])
        prompt = _joined(lengths(talk), _parts(talk, "content", "role", seal, fold), "\n")
    if on == "prompt":
        return prompt
    answers = _parts(view["candidates"], "text", None, seal, fold)
    live = live_in(view["candidates"])
    if on == "response":
        return answers.filter(pa.array(live))
    if on == "conversation":
        counts = np.bincount(owners(lengths(view["candidates"]))[live], minlength=len(view))
        return join_texts(prompt, BORDER, _joined(counts, answers.filter(pa.array(live)), BORDER))
    pairs = read_pairs(view)
    row, a, b = (pa.array(at[pairs.live]) for at in (pairs.row, pairs.chosen, pairs.rejected))
    a, b = answers.take(a), answers.take(b)
    first, second = pc.min_element_wise(a, b), pc.max_element_wise(a, b)
    both = join_texts(first, BORDER, second)
    return join_texts(prompt.take(row), BORDER, both) if seal else both


def asked(prompt: Column) -> Column:
    """Return the conversations without their system messages.

    One that holds nothing else stays as it is. A system message is the frame of many prompts: its
    words say nothing of how alike two questions are.
    """
    system, counts = _system_turns(prompt)
    if not system.any():
        return prompt
    keep = ~system
    return lists(
        np.bincount(owners(counts)[keep], minlength=len(counts)),
        flat(prompt).filter(pa.array(keep)),
    )


def system_marks(prompt: Column) -> Hashes | None:
    """Return a hash of each conversation's system messages (n; 0 for none); None if no one has any.

    White space is collapsed. One that holds nothing else has no mark: it is its own question.
    """
    marks = list[Hashes]()
    for chunk in prompt.chunks if isinstance(prompt, pa.ChunkedArray) else [prompt]:
        system, counts = _system_turns(chunk)
        own = np.zeros(len(counts), dtype=np.uint64)
        row = owners(counts)[system]
        place = np.flatnonzero(system) - starts_of(counts)[row]
        texts = pc.fill_null(large(flat(chunk, "content").filter(pa.array(system))), "")
        np.add.at(own, row, mix(hashes(normal(texts)), place))
        marks.append(own)
    found = np.concatenate([np.zeros(0, dtype=np.uint64), *marks])
    return found if found.any() else None


def _system_turns(prompt: Column) -> tuple[Bools, Ints]:
    """Return which flattened turns are system messages beside others, and each row's turns (n)."""
    counts = lengths(prompt)
    speaker = pc.fill_null(flat(prompt, "role"), "")
    system = np.asarray(pc.is_in(speaker, pa.array(SYSTEM_ROLES, speaker.type)), dtype=bool)
    if system.any():
        row = owners(counts)
        system &= np.bincount(row[~system], minlength=len(counts))[row] > 0
    return system, counts


def _parts(column: Column, text: str, role: str | None, seal: bool, fold: bool) -> pa.Array:
    """Return the flattened messages or answers as large_string; null reads as empty."""
    values = pc.fill_null(large(flat(column, text)), "")
    if not seal:
        return values
    if fold:
        values = normal(values)
    size = large(pc.binary_length(values).cast(pa.string()))
    speaker = pc.fill_null(large(flat(column, role)), "") if role else ""
    return join_texts(speaker, "\0", size, "\0", values)


def normal(texts: pa.Array) -> pa.Array:
    """Return the texts in NFC, with each stretch of white space as one space and none outside."""
    pl = load_polars()

    series = pl.Series(texts).str.normalize("NFC").str.replace_all(r"\s+", " ").str.strip_chars(" ")
    return series.to_arrow().cast(pa.large_string())


def _joined(counts: Ints, values: pa.Array, border: str) -> pa.Array:
    if len(counts) == len(values) and (counts == 1).all():
        return values
    return pc.binary_join(lists(counts, values), pa.scalar(border, pa.large_string()))


def item_order(view: pa.Table, on: str, items: Items, keep_by: str | None) -> Ints:
    """Return the items' indexes, best first by the column `keep_by`; equal ones in their order.

    Rows are ranked by `best_of`, candidates by a column of one number a candidate, pairs by one of
    their own numbers or by a column of one number a pair. Without a number an item comes last.
    """
    if keep_by is None:
        return np.arange(len(items.row))
    return best_first(item_value(view, on, keep_by), keep_by)


def best_first(value: Floats, keep_by: str) -> Ints:
    """Return the order of the items by their numbers (n), the highest first.

    Raises StageError where a key of the source's own columns gives none of them a number; of
    another column the log says so.
    """
    if keep_by.startswith(OWN) and len(value) and not np.isfinite(value).any():
        raise StageError(f"keep_by: no row has a number in {keep_by!r}")
    warn_unranked(value, "keep_by", keep_by)
    return np.argsort(-value, kind="stable")


def rankable(on: str, keep_by: str | None) -> None:
    """Raise ValueError where `keep_by` is not a number of what `on` compares."""
    if keep_by in SOURCES["pair"]:
        hint = '; say "margin"' if keep_by == "pairs" else ""
        raise ValueError(f"keep_by: {keep_by!r} holds no numbers{hint}")
    if on == "response" and keep_by in PAIR_NUMBERS:
        raise ValueError(
            f"keep_by: {keep_by!r} is a number of pairs, and `on: response` compares candidates; "
            'name a column of a number a candidate, such as "scores"'
        )


def item_value(view: pa.Table, on: str, keep_by: str) -> Floats:
    """Return the number (n) that ranks each item: the highest is the best."""
    if on not in LISTED:
        return best_of(view, keep_by)
    column = view[LISTED[on]]
    if on == "pair" and keep_by in PAIR_NUMBERS:
        number = flat(column, keep_by).cast(pa.float64())
        value = np.asarray(number.to_numpy(zero_copy_only=False), dtype=np.float64)
    elif pa.types.is_list((numbers := column_of(view, keep_by)).type):
        value = aligned_scores(numbers, lengths(column))
    else:
        raise StageError(f"keep_by: {keep_by!r} holds no number for each of the {LISTED[on]}")
    return np.asarray(np.where(np.isnan(value), -np.inf, value)[live_in(column)])


def with_ranking(columns: tuple[str, ...], keep_by: str | None) -> tuple[str, ...]:
    """Return the columns with the one added that `keep_by` is read from, where it is new."""
    if keep_by is None:
        return columns
    name = "pairs" if keep_by in PAIR_NUMBERS else base_column(keep_by)
    return columns if name in columns else (*columns, name)


def drop_items(view: pa.Table, on: str, items: Items, which: Ints, why: pa.Array) -> Result:
    """Return what drops the items `which`, for the reasons `why` (one for each of them).

    A row is dropped with its last live candidate or pair, for its first one's reason.
    """
    if on not in LISTED:
        return {DROP: spread(len(view), which, why)}
    name = LISTED[on]
    column, sizes = flat(view[name]), lengths(view[name])
    at = starts_of(sizes)[items.row[which]] + items.place[which]
    reason = pc.coalesce(pc.struct_field(column, "drop"), spread(len(column), at, why))
    dropped = lists(sizes, set_field(column, "drop", reason))
    return {name: dropped, DROP: all_dropped(sizes, reason)}


def spread(size: int, at: Ints, values: pa.Array) -> pa.Array:
    """Return a text column of `size` that holds values[i] at at[i] and null elsewhere."""
    index = np.full(size, -1, dtype=np.int64)
    index[at] = np.arange(len(at))
    return values.cast(pa.string()).take(pa.array(index, mask=index < 0))


def names_of(view: pa.Table, on: str, items: Items, which: Ints) -> pa.Array:
    """Return what to call the items in a reason: the row's id, and the place within the row."""
    ids = large(
        view["id"].combine_chunks() if isinstance(view["id"], pa.ChunkedArray) else view["id"]
    )
    name = ids.take(pa.array(items.row[which]))
    if on not in LISTED:
        return name
    place = large(pa.array(items.place[which]).cast(pa.string()))
    return join_texts(f"{LISTED[on][:-1]} ", place, " of ", name)
