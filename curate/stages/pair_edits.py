"""What the stages that change pairs share: which answers they name, reasons, and flips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Floats, Ints, flat, lengths, lists, owners, set_field, starts_of
from curate.errors import StageError
from curate.methods.judgments import floats, true
from curate.schema import DROP
from curate.stage import Result

FLIPPED = ":flipped"
"""What a turned pair's source ends in."""


@dataclass(frozen=True)
class Pairs:
    """The rows' pairs, flattened; `chosen` and `rejected` index the flat candidates."""

    counts: Ints
    """(rows,) candidates a row."""
    sizes: Ints
    """(rows,) pairs a row."""
    row: Ints
    chosen: Ints
    rejected: Ints
    values: pa.StructArray

    @property
    def live(self) -> Bools:
        """Return (pairs,) where nothing has dropped the pair yet."""
        dropped = pc.is_valid(pc.struct_field(self.values, "drop"))
        return ~true(dropped)

    def floats(self, name: str) -> Floats:
        """Return a field as float64, null as NaN."""
        return floats(pc.struct_field(self.values, name))


def read_pairs(view: pa.Table) -> Pairs:
    """Return the pairs of a view with candidates. Raises StageError for an index out of range."""
    counts, sizes = lengths(view["candidates"]), lengths(view["pairs"])
    values, row = flat(view["pairs"]), owners(sizes)
    starts = starts_of(counts)
    ends = []
    for name in ("chosen", "rejected"):
        index = pc.fill_null(pc.struct_field(values, name), -1)
        local = np.asarray(index.to_numpy(zero_copy_only=False), dtype=np.int64)
        if not ((local >= 0) & (local < counts[row])).all():
            raise StageError("a pair's chosen or rejected is no index of its row's candidates")
        ends.append(starts[row] + local)
    return Pairs(counts, sizes, row, ends[0], ends[1], values)


def set_floats(values: pa.StructArray, name: str, new: Floats, where: Bools) -> pa.StructArray:
    """Return the pairs with float field `name` replaced where `where`; NaN becomes null."""
    if not where.any():
        return values
    column = np.where(where, new, floats(pc.struct_field(values, name))).astype(np.float32)
    return set_field(values, name, pa.array(column, mask=np.isnan(column)))


def flip(values: pa.StructArray, where: Bools) -> pa.StructArray:
    """Return the pairs with chosen and rejected exchanged where `where` is true.

    The margin changes its sign, p_correct becomes 1 - p_correct, and the source ends in
    ":flipped" (or no longer does, for a pair that is turned back).
    """
    if not where.any():
        return values
    mask = pa.array(where)
    chosen, rejected = (pc.struct_field(values, name) for name in ("chosen", "rejected"))
    margin, p = (pc.struct_field(values, name) for name in ("margin", "p_correct"))
    source = pc.fill_null(pc.struct_field(values, "source"), "")
    back = pc.ends_with(source, FLIPPED)
    turned = pc.if_else(
        back,
        pc.utf8_slice_codeunits(source, 0, -len(FLIPPED)),
        pc.binary_join_element_wise(source, FLIPPED, ""),
    )
    values = set_field(values, "chosen", pc.if_else(mask, rejected, chosen))
    values = set_field(values, "rejected", pc.if_else(mask, chosen, rejected))
    values = set_field(values, "margin", pc.if_else(mask, pc.negate(margin), margin))
    other = pc.subtract(pa.scalar(1.0, pa.float32()), p)
    values = set_field(values, "p_correct", pc.if_else(mask, other, p))
    kept = pc.struct_field(values, "source")
    return set_field(values, "source", pc.if_else(mask, turned, kept))


def first_reason(earlier: pa.Array, masks: Sequence[tuple[npt.ArrayLike, str]]) -> pa.Array:
    """Return the earlier reason, else that of the first mask that is true, else null."""
    reason = pa.nulls(len(earlier), pa.string())
    for mask, text in reversed(masks):
        if np.any(mask):
            reason = pc.if_else(pa.array(mask), text, reason)
    return pc.coalesce(earlier, reason)


def all_dropped(
    sizes: Ints, reason: pa.Array, empty: str | None = None, late: pa.Array | None = None
) -> pa.Array:
    """Return each row's reason: null where a value is live, its first's reason, or `empty`.

    `reason` has that of each value. The first of those in `late`, where a row has some.
    """
    live = true(pc.is_null(reason))
    row = owners(sizes)
    left = np.bincount(row[live], minlength=len(sizes))
    first = starts_of(sizes)
    if late is not None:
        at = np.flatnonzero(late.to_numpy(zero_copy_only=False))
        rows, place = np.unique(row[at], return_index=True)
        first[rows] = at[place]
    index = pa.array(first, mask=(left > 0) | (sizes == 0))
    return pc.if_else(pa.array(sizes == 0), pa.scalar(empty, pa.string()), reason.take(index))


def edited(
    pairs: Pairs, values: pa.StructArray, masks: Sequence[tuple[npt.ArrayLike, str]] = ()
) -> Result:
    """Return the `pairs` column with the new values, and the rows that are left without a pair.

    `masks` are (where, reason) of pairs to drop; an earlier reason stays. A row whose pairs are
    all dropped is dropped for the reason of the first pair that went now, so that the books
    count no reason of an earlier stage under this one; a row without pairs for "no pair".
    """
    earlier = pc.struct_field(values, "drop")
    reason = first_reason(earlier, masks)
    values = set_field(values, "drop", reason)
    gone = all_dropped(pairs.sizes, reason, "no pair", late=pc.is_null(earlier))
    return {"pairs": lists(pairs.sizes, values), DROP: gone}
