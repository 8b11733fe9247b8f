"""Drop rows by a number, their own or that of those like them: out of bounds, or by its rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import Bools, Column, Floats, Ints, flat, lengths, one_chunk, owners, text_of
from curate.errors import StageError
from curate.methods.columns import base_column, column_of
from curate.methods.judgments import floats
from curate.schema import DROP
from curate.stage import Context, Result, Scope
from curate.stages.budget import Keep, by_id, rows_to_keep
from curate.stages.filters import above, below
from curate.stages.new_column import NewColumn
from curate.stages.reduced import Reduced, Values


class Bound(Reduced, name="bound"):
    """Drop rows whose number in `column` is below `at_least`, above `at_most`, or missing.

    A text counts its characters (a prompt those of its turns), a list what it holds (of candidates
    and pairs those that nothing has dropped), or, with `of_list`, the mean, least or most of its
    numbers. With `mean_by` the number is the mean of all rows that have the same value there: weak
    topics go as a whole (BenchBuilder, Li et al. 2024). With `lowest` or `highest` only so many of
    the rows within the bounds stay: the hardest prompts are those with the lowest mean of `scores`
    (BLEUBERI, Chang et al. 2025). Of equal ones the lower id stays.
    """

    column: str
    """The column of numbers, texts or lists; "meta.KEY" is a key of the source's own columns."""
    of_list: Literal["size", "mean", "least", "most"] = "size"
    """What a list of numbers counts as; null entries are left out."""
    at_least: float | None = Field(None, allow_inf_nan=False)
    """The smallest number kept."""
    at_most: float | None = Field(None, allow_inf_nan=False)
    """The largest number kept."""
    lowest: Keep | None = None
    """Keep only so many rows of the lowest numbers, or such a share."""
    highest: Keep | None = None
    """Keep only so many rows of the highest numbers, or such a share."""
    mean_by: str | None = None
    """Column of the groups whose mean counts; rows without a number are not in it."""
    to: NewColumn | None = None
    """Column to write the number to, of float32."""

    @model_validator(mode="after")
    def _ordered(self) -> Bound:
        low, high = self.at_least, self.at_most
        if low is None and high is None and not self._ranks():
            raise ValueError("give at_least, at_most, lowest or highest")
        if low is not None and high is not None and high < low:
            raise ValueError(f"at_most ({high}) is less than at_least ({low})")
        if self.lowest is not None and self.highest is not None:
            raise ValueError("lowest and highest exclude each other; use the stage twice")
        return self

    def needed(self) -> tuple[str, ...]:
        """Return the column and that of the groups, and the ids that decide between equals."""
        names = (self.column,) if self.mean_by is None else (self.column, self.mean_by)
        ids = ("id",) if self._ranks() else ()
        return tuple(dict.fromkeys((*map(base_column, names), *ids)))

    def written(self) -> tuple[str, ...]:
        """Return the column that `to` names."""
        return () if self.to is None else (self.to,)

    def view_scope(self) -> Scope:
        """A mean and a rank take all rows."""
        return "dataset" if self._ranks() or self.mean_by is not None else "shard"

    def _ranks(self) -> bool:
        return self.lowest is not None or self.highest is not None

    def named(self) -> tuple[str, ...]:
        """Return the column, and that of the groups."""
        return tuple(filter(None, (self.column, self.mean_by)))

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the rows' numbers, and their ids and groups where those count."""
        value = numbers(column_of(view, self.column), self.column, self.of_list)
        found: dict[str, Values] = {"value": value}
        if self._ranks():
            found["id"] = view["id"]
        if self.mean_by is not None:
            found["group"] = column_of(view, self.mean_by)
        return found

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the rows' numbers, and of those beyond the rank how many are within it, else 0."""
        value = np.asarray(found["value"])
        if self.mean_by is not None:
            value = group_means(value, found["group"])
        beyond = np.zeros(len(value), dtype=np.int64)
        if self._ranks():
            inside = ~np.logical_or.reduce([mask for mask, _ in self._out(value)])
            rows, kept = self._beyond(value, inside, found["id"])
            beyond[rows] = kept
        return {"value": value, "beyond": beyond}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the reason for each row that is out of bounds, and the numbers if asked for."""
        value, beyond = (np.asarray(decided[name]) for name in ("value", "beyond"))
        masks = self._out(value)
        if self._ranks():
            which = "lowest" if self.lowest else "highest"
            why = f"not among the {beyond.max(initial=0)} of {which} {self._what()}"
            masks.insert(0, (beyond > 0, why))
        reason = pa.nulls(len(view), pa.string())
        for mask, why in masks:
            reason = pc.if_else(pa.array(mask), pa.scalar(why), reason)
        if self.to is None:
            return {DROP: reason}
        return {DROP: reason, self.to: pa.array(value, pa.float32(), from_pandas=True)}

    def _what(self) -> str:
        """Say what the number is."""
        what = self.column if self.of_list == "size" else f"{self.of_list} of {self.column}"
        return what if self.mean_by is None else f"mean {what} by {self.mean_by}"

    def _out(self, value: Floats) -> list[tuple[Bools, str]]:
        """Return which rows are out of bounds, bound by bound, with the reason."""
        what = self._what()
        masks = [(np.isnan(value), f"no {what}")]
        if self.at_least is not None:
            masks.append((below(value, self.at_least), f"{what} below {self.at_least:g}"))
        if self.at_most is not None:
            masks.append((above(value, self.at_most), f"{what} above {self.at_most:g}"))
        return masks

    def _beyond(self, value: Floats, inside: Bools, ids: Column) -> tuple[Ints, int]:
        """Return the rows inside the bounds but not of `lowest` or `highest`, and how many are."""
        rows = by_id(ids)
        rows = rows[inside[rows]]
        number = value[rows] if self.lowest else -value[rows]
        kept = rows_to_keep(self.lowest or self.highest or 1, len(rows))
        return rows[np.argsort(number, kind="stable")][kept:], kept


def numbers(column: Column, name: str, of_list: str = "size") -> Floats:
    """Return a column (n) of numbers, of texts or lists by their size; null is NaN.

    `of_list` "mean", "least" or "most" takes that of each list's numbers, NaN where it has none.
    Raises StageError where the column holds something else.
    """
    values, kind = one_chunk(column), column.type
    if of_list != "size":
        return _of_lists(values, name, of_list)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return floats(pc.utf8_length(values))
    if pa.types.is_list(kind):
        size = lengths(values)
        if name == "prompt":
            size = np.asarray(pc.utf8_length(text_of(values)))
        elif pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index(DROP) >= 0:
            live = np.asarray(flat(values, DROP).is_null())
            size = np.bincount(owners(size)[live], minlength=len(values))
        return np.where(np.asarray(values.is_valid()), size.astype(np.float64), np.nan)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return floats(values)
    raise StageError(f"bound: {name!r} holds {kind}; give a column of numbers, texts or lists")


def _of_lists(values: pa.Array, name: str, what: str) -> Floats:
    kind = values.type
    if not pa.types.is_list(kind) or not (
        pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    ):
        raise StageError(f"bound: {name!r} holds {kind}; of_list: {what} needs lists of numbers")
    inside = floats(flat(values))
    known = ~np.isnan(inside)
    row, inside = owners(lengths(values))[known], inside[known]
    size = np.bincount(row, minlength=len(values))
    if what == "mean":
        found = np.bincount(row, inside, len(values)) / np.maximum(size, 1)
    else:
        found = np.full(len(values), np.inf if what == "least" else -np.inf)
        (np.minimum if what == "least" else np.maximum).at(found, row, inside)
    return np.where(size > 0, found, np.nan)


def group_means(value: Floats, group: Column) -> Floats:
    """Return the mean (n) of the values (n) of each one's group, NaN left out.

    NaN for a group without any value, and where the group is null.
    """
    coded = one_chunk(group).dictionary_encode()
    number = np.asarray(coded.indices.fill_null(-1)).astype(np.int64) + 1
    known = ~np.isnan(value)
    size = np.bincount(number[known], minlength=len(coded.dictionary) + 1)
    total = np.bincount(number[known], value[known], len(coded.dictionary) + 1)
    with np.errstate(invalid="ignore"):
        mean = total / size
    mean[0] = np.nan
    return np.asarray(mean[number])
